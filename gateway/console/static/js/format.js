// Numbers and times as an operator reads them: the tag's decimals, plant local time, the zone always written, UTC on hover.

import { language, t } from "./i18n.js";

const NARROW_SPACE = "\u202f";
const UNITS = { Cel: "°C", "1": "", "m3/h": "m³/h", "m3": "m³", "m/s2": "m/s²", um: "µm", Ohm: "Ω", "%LC": "% LC", "1000": "×1000" };
const numbers = new Map();
let zone = "UTC";
let stamps = null;

export function setZone(name) {
  zone = name;
  stamps = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23",
  });
}
setZone(zone);

export function zoneName() {
  return zone;
}

export function zoneOffset(ms = Date.now()) {
  const parts = new Intl.DateTimeFormat("en", { timeZone: zone, timeZoneName: "longOffset" }).formatToParts(ms);
  const offset = parts.find((p) => p.type === "timeZoneName").value;
  return offset === "GMT" ? "UTC+00:00" : offset.replace("GMT", "UTC");
}

export function number(value, decimals) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "—";
  const digits = Math.min(9, Math.max(0, decimals | 0));
  let form = numbers.get(digits);
  if (!form) {
    form = new Intl.NumberFormat("en", { minimumFractionDigits: digits, maximumFractionDigits: digits, signDisplay: "negative" });
    numbers.set(digits, form);
  }
  return form.format(value).replaceAll(",", NARROW_SPACE).replace("-", "−");
}

export function unit(ucum) {
  return UNITS[ucum] ?? ucum ?? "";
}

export function parts(ms) {
  const found = {};
  for (const p of stamps.formatToParts(ms)) found[p.type] = p.value;
  return found;
}

export function clock(ms) {
  const p = parts(ms);
  return `${p.hour}:${p.minute}:${p.second}`;
}

export function day(ms) {
  const p = parts(ms);
  return `${p.year}-${p.month}-${p.day}`;
}

export function stamp(ms) {
  return `${day(ms)} ${clock(ms)}`;
}

/** The time of day when it is today's, else with its date. */
export function shortStamp(ms, now) {
  return day(ms) === day(now) ? clock(ms) : stamp(ms).slice(5);
}

export function utc(ms) {
  return new Date(ms).toISOString().replace("T", " ").replace("Z", " UTC");
}

/** "2026-01-01T08:00:00" of the plant's clock as ms UTC. */
export function plantInstant(local) {
  const guess = Date.parse(`${local}Z`);
  const at = guess - shift(guess);
  // Around a change of the clock the offset of the answer counts, not that of the guess.
  return guess - shift(at);
}

function shift(ms) {
  const p = parts(ms);
  return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) - Math.floor(ms / 1000) * 1000;
}

/** ms UTC as a field of a form has it, by the plant's clock. */
export function plantLocal(ms) {
  return `${day(ms)}T${clock(ms)}`;
}

export function span(seconds) {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return t("span.s", { s });
  if (s < 3600) return t("span.min", { m: Math.floor(s / 60), s: String(s % 60).padStart(2, "0") });
  if (s < 86400) return t("span.h", { h: Math.floor(s / 3600), m: String(Math.floor((s % 3600) / 60)).padStart(2, "0") });
  return t("span.d", { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) });
}

export function bytes(n) {
  if (n < 1e3) return `${n} B`;
  if (n < 1e6) return `${number(n / 1e3, 1)} kB`;
  if (n < 1e9) return `${number(n / 1e6, 1)} MB`;
  return `${number(n / 1e9, 2)} GB`;
}

export function plain(n) {
  return number(n, 0);
}

export function listed(items) {
  return items.join(language === "zh" ? "、" : ", ");
}
