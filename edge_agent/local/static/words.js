// Elements, words and numbers: every text becomes a text node, so a name from the plant is never read as markup.

let words = {};
export let language = "en";
let stamps = null;
let zone = "UTC";

export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true && !name.startsWith("aria-") ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== undefined && child !== null && child !== false) node.append(child);
  return node;
}

export function text(node, value) {
  if (node.textContent !== (value ?? "")) node.textContent = value ?? "";
}

export async function speak(name) {
  words = await (await fetch(`lang/${name}.json`)).json();
  language = name;
  localStorage.setItem("pharmedge.language", name);
  document.documentElement.lang = name === "zh" ? "zh-CN" : "en";
}

export function preferred() {
  return localStorage.getItem("pharmedge.language") ?? (navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en");
}

export function t(key, values) {
  const pattern = words[key] ?? key;
  return values ? pattern.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? "")) : pattern;
}

export function word(kind, name) {
  return words[`${kind}.${name}`] ?? name;
}

/** Text of a {en, zh} mapping in the chosen language, else in the other one. */
export function local(texts) {
  return texts?.[language] || texts?.en || texts?.zh || "";
}

export function setZone(name) {
  zone = name;
  const form = { timeZone: zone, month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };
  stamps = new Intl.DateTimeFormat("en-GB", form);
}
setZone(zone);

export function zoneName() {
  return zone;
}

/** The time of day when it is today's, else with its date. */
export function clock(ms, now = ms) {
  const of = (at) => Object.fromEntries(stamps.formatToParts(at).map((p) => [p.type, p.value]));
  const [p, today] = [of(ms), of(now)];
  const time = `${p.hour}:${p.minute}:${p.second}`;
  return p.day === today.day && p.month === today.month ? time : `${p.month}-${p.day} ${time}`;
}

export function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return t("span.s", { s });
  if (s < 3600) return t("span.min", { m: Math.floor(s / 60), s: String(s % 60).padStart(2, "0") });
  if (s < 86400) return t("span.h", { h: Math.floor(s / 3600), m: String(Math.floor((s % 3600) / 60)).padStart(2, "0") });
  return t("span.d", { d: Math.floor(s / 86400), h: Math.floor((s % 86400) / 3600) });
}

const UNITS = { Cel: "°C", "1": "", "m3/h": "m³/h", m3: "m³", "m/s2": "m/s²", um: "µm", Ohm: "Ω", "%LC": "% LC", "1000": "×1000" };

/** A unit as people write it. */
export function unit(code) {
  return UNITS[code] ?? code ?? "";
}

export function amount(value, decimals, code) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "";
  return `${value.toFixed(Math.min(9, Math.max(0, decimals | 0))).replace("-", "−")} ${unit(code)}`.trim();
}
