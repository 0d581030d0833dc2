// Continuous line: what its diverter is asked to do now and why, what is on its way, and what became of the material.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { attribute, color, h, rem, text } from "./dom.js";
import { font, level, timeLabels } from "./drawing.js";
import { clock, number, plain, span, stamp, utc, zoneName } from "./format.js";
import { t } from "./i18n.js";
import { get, MS, plant } from "./plant.js";
import { link, note } from "./route.js";
import { choice, field, sheet } from "./sheet.js";
import { series } from "./happenings.js";

const REQUEST = ".divert_request";
const SPANS = ["3600", "28800", "86400", "604800"];
const REASONS = [1, 2, 4, 8, 16, 32, 128];
const STATES = ["normal", "pending", "diverting", "clearing"];
const POINTS = 600;
const PERIOD_MS = 5000;
/** A ledger of many days is much work for the gateway: a longer span is asked for more rarely, 7 days once a minute. */
const periodMs = (spanS) => Math.max(PERIOD_MS, spanS / 10);
/** Times to arrival older than this are told as of when they were. */
const FRESH_MS = 15000;

export const diverters = () => plant.order.filter((tag) => tag.key.endsWith(REQUEST) && tag.model.startsWith("divert:")).map((tag) => tag.key.slice(0, -REQUEST.length));

export function divert(root, params) {
  let chosen = read(params);
  let row = null;
  let charts = [];
  let closed = false;
  let last = 0;
  let turn = 0;
  let known = "";
  const lines = h("select", { "aria-label": t("divert.line") });
  const spans = choice(SPANS.map((s) => [s, t(`range.${s}`)]), chosen.span);
  const csv = h("a", { class: "button", download: "" }, t("divert.csv"));
  const word = h("b", { class: "d-word" });
  const why = h("p", { class: "d-why" });
  const facts = h("dl", { class: "facts" });
  const now = h("section", { class: "panel d-now", "aria-label": t("divert.now"), role: "status" }, h("div", { class: "d-head" }, word, why), facts);
  const feed = h("div", { class: "s-range", role: "img", "aria-label": t("divert.feed") });
  const outlet = h("div", { class: "k-plot", role: "img", "aria-label": t("divert.outlet") });
  const sums = h("p", { class: "d-sums" });
  const table = h("div", { class: "scroll-x" });
  const empty = h("p", { class: "empty" });
  const body = h("div", { class: "k-lists", hidden: true }, now,
    h("section", { class: "panel" }, h("h2", null, t("divert.feed")), feed, h("h2", null, t("divert.outlet")), outlet, h("p", { class: "quiet" }, t("divert.drawn"))),
    h("section", { class: "panel" }, h("h2", null, t("divert.ledger")), sums, table));
  root.append(h("div", { class: "office-page kpi-page" }, h("div", { class: "bar" }, field(t("divert.line"), lines), field(t("kpi.span"), spans), h("span", { class: "push" }), csv), empty, body));
  lines.addEventListener("change", () => choose({ line: lines.value }));
  spans.addEventListener("change", () => choose({ span: spans.value }));

  function read(source) {
    return { line: source.get("line") ?? "", span: SPANS.includes(source.get("span")) ? source.get("span") : "3600" };
  }

  function choose(part) {
    chosen = { ...chosen, ...part };
    note("divert", chosen);
    load();
  }

  /** The newest value of one of the diverter's tags, null when there is none. */
  const told = (output) => plant.tags.get(`${chosen.line}.${output}`) ?? null;
  const value = (output) => { const tag = told(output); return tag && typeof tag.value === "number" ? tag.value : null; };
  const reasons = (bits) => REASONS.filter((bit) => bits & bit).map((bit) => t(`divert.reason.${bit}`));

  function list() {
    const found = diverters();
    const key = found.join("\n");
    if (key !== known) {
      known = key;
      lines.replaceChildren(...found.map((one) => h("option", { value: one }, one)));
    }
    if (!found.includes(chosen.line)) chosen.line = found[0] ?? "";
    lines.value = chosen.line;
    return found.length > 0;
  }

  async function load() {
    last = Date.now();
    if (!list()) {
      body.hidden = true;
      empty.hidden = false;
      text(empty, plant.ready ? t("divert.none") : t("loading"));
      return;
    }
    spans.value = chosen.span;
    const mine = ++turn;
    const to = plant.now() / 1000;
    const from = to - Number(chosen.span);
    const ns = (s) => `${Math.round(s * 1000)}000000`;
    const query = new URLSearchParams({ diverter: chosen.line, from: ns(from), to: ns(to) });
    attribute(csv, "href", `api/v1/diverts?${query}&format=csv`);
    try {
      const outputs = ["feed", "low", "high", "limit_low", "limit_high"];
      const [ledger, ...drawn] = await Promise.all([get(`api/v1/diverts?${query}`), ...outputs.map((o) => series(`${chosen.line}.${o}`, from, to, POINTS))]);
      if (closed || mine !== turn) return;
      row = { ledger, from, to, ...Object.fromEntries(outputs.map((o, i) => [o, drawn[i]])) };
      empty.hidden = true;
      body.hidden = false;
      draw();
    } catch (error) {
      if (closed || mine !== turn) return;
      body.hidden = true;
      empty.hidden = false;
      text(empty, error.message);
    }
  }

  function state() {
    const tag = told("divert_request");
    if (!tag) return;
    const heard = plant.live && plant.edges.get(tag.edge)?.connected;
    const asked = value("divert_request");
    const at = value("state") ?? 0;
    const known = heard && asked !== null;
    attribute(now, "data-route", !known ? "unknown" : asked ? "divert" : "accept");
    text(word, !known ? t("divert.is.unknown") : asked ? t("divert.is.divert") : t("divert.is.accept"));
    const bits = value("reason") ?? 0;
    text(why, !known ? t("divert.unknown") : asked || at === 1 ? reasons(bits).join(" · ") : t("divert.fine"));
    const since = row?.ledger.spans.at(-1);
    const coming = (output) => {
      const one = told(output);
      if (!one || typeof one.value !== "number" || at === 0 || one.time_ns === null || plant.now() - one.time_ns / MS > FRESH_MS) return "—";
      return span(Math.max(0, one.value - (plant.now() - one.time_ns / MS) / 1000));
    };
    const both = value("low") === null ? "—" : `${number(value("low"), 1)} – ${number(value("high"), 1)} %`;
    const limits = value("limit_low") === null ? "—" : `${number(value("limit_low"), 1)} – ${number(value("limit_high"), 1)} %`;
    const cells = [
      ["state", known ? t(`divert.state.${STATES[at]}`) : "—"], ["since", since && known ? `${clock(since.from_ns / MS)} · ${span((plant.now() - since.from_ns / MS) / 1000)}` : "—"],
      ["arrives", coming("starts_s")], ["passed", coming("ends_s")], ["content", both], ["limits", limits],
      ["valve", value("mismatch") ? t(value("mismatch") === 2 ? "divert.silent" : "divert.stuck") : known ? t("divert.obeys") : "—"],
    ];
    facts.replaceChildren(...cells.map(([key, words]) => h("div", { class: key === "valve" && value("mismatch") ? "trouble" : null }, h("dt", null, t(`divert.${key}`)), h("dd", { "data-fact": key }, words))));
  }

  const kg = (x) => number(x, 2);

  function draw() {
    state();
    const l = row.ledger;
    const whole = l.accepted_kg + l.diverted_kg + l.unconfirmed_kg;
    text(sums, t("divert.sums", { accepted: kg(l.accepted_kg), share: whole ? number((100 * l.accepted_kg) / whole, 1) : "—", diverted: kg(l.diverted_kg), unconfirmed: kg(l.unconfirmed_kg), time: clock(l.told_ns / MS) })
      + (l.against_kg > 0 ? ` ${t("divert.against", { kg: kg(l.against_kg) })}` : "") + (l.unseen_s > 0 ? ` ${t("divert.unseen", { age: span(l.unseen_s) })}` : ""));
    sums.classList.toggle("trouble", l.against_kg > 0);
    const spans = [...l.spans].reverse();
    table.replaceChildren(spans.length ? sheet([
      [t("divert.from"), (s) => h("a", { href: link("trends", { tag: ["low", "high", "feed", "divert_request"].map((o) => `${chosen.line}.${o}`), from: new Date(s.from_ns / MS - 300000).toISOString(), to: new Date(s.to_ns / MS + 300000).toISOString() }), title: utc(s.from_ns / MS) }, stamp(s.from_ns / MS))],
      [t("divert.lasted"), (s) => span((s.to_ns - s.from_ns) / 1e9)],
      [t("divert.asked"), (s) => h("b", { class: s.request ? "d-divert" : "d-accept" }, t(s.request ? "divert.is.divert" : "divert.is.accept"))],
      [t("divert.why"), (s) => (s.request ? reasons(s.reason).join(" · ") : "")],
      [t("divert.accepted"), (s) => kg(s.accepted_kg), "n"], [t("divert.diverted"), (s) => kg(s.diverted_kg), "n"], [t("divert.unconfirmed"), (s) => kg(s.unconfirmed_kg), "n"],
      [t("divert.againstKg"), (s) => h("span", { class: s.against_kg > 0 ? "trouble" : null }, kg(s.against_kg)), "n"],
    ], spans.slice(0, 200), { mark: (s) => ({ "data-route": s.request ? "divert" : "accept" }) }) : h("p", { class: "quiet" }, t("trends.noValues")),
    spans.length > 200 ? h("p", { class: "quiet" }, t("divert.more", { n: plain(spans.length - 200) })) : "");
    plot();
  }

  function plot() {
    for (const chart of charts) chart.destroy();
    const newest = (series) => series.last.filter((x) => x !== null).at(-1) ?? null;
    const limits = [newest(row.limit_low), newest(row.limit_high)];
    charts = [one(feed, rem(8), [[row.feed, "trace"]], limits), one(outlet, rem(14), [[row.low, "trace"], [row.high, "trace"]], limits)];
  }

  function one(host, height, given, limits) {
    const times = [...new Set(given.flatMap(([s]) => s.time_ns))].sort((a, b) => a - b);
    const columns = given.map(([s]) => { const at = new Map(s.time_ns.map((ns, i) => [ns, s.mean[i]])); return times.map((ns) => at.get(ns) ?? null); });
    const middle = limits[0] === null ? 100 : (limits[0] + limits[1]) / 2;
    const half = limits[0] === null ? 10 : 2.2 * (limits[1] - middle);
    const ink = () => color("quiet");
    return new uPlot({
      width: host.clientWidth || 800, height, legend: { show: false }, cursor: { show: false },
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()), padding: [8, rem(1), 0, 0],
      // What is far outside its limits is outside all the same: the scale keeps the limits to be seen.
      scales: { x: { time: true, range: () => [row.from, row.to] }, y: { range: () => [middle - half, middle + half] } },
      axes: [{ stroke: ink, font: font(), grid: { show: false }, values: timeLabels },
        { stroke: ink, font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(4.2), values: (_u, splits) => splits.map((v) => `${plain(v)} %`) }],
      series: [{}, ...given.map(([, line]) => ({ stroke: () => color(line), width: 1.5, points: { show: false }, spanGaps: false }))],
      bands: given.length === 2 ? [{ series: [2, 1], fill: () => color("band") }] : [],
      hooks: { drawClear: [diverted], draw: [(u) => { for (const limit of limits) if (limit !== null) level(u, limit); }] },
    }, [times.map((ns) => ns / 1e9), ...columns], host);
  }

  /** Spans of the request, hatched: not by colour alone. */
  function diverted(u) {
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    u.ctx.clip();
    u.ctx.strokeStyle = color("outline");
    u.ctx.lineWidth = devicePixelRatio || 1;
    for (const s of row.ledger.spans.filter((x) => x.request)) {
      const from = u.valToPos(Math.max(row.from, s.from_ns / 1e9), "x", true);
      const to = u.valToPos(Math.min(row.to, s.to_ns / 1e9), "x", true);
      u.ctx.save();
      u.ctx.beginPath();
      u.ctx.rect(from, u.bbox.top, Math.max(1, to - from), u.bbox.height);
      u.ctx.clip();
      const step = rem(0.6) * (devicePixelRatio || 1);
      u.ctx.globalAlpha = 0.45;
      u.ctx.beginPath();
      for (let x = from - u.bbox.height; x < to; x += step) { u.ctx.moveTo(x, u.bbox.top + u.bbox.height); u.ctx.lineTo(x + u.bbox.height, u.bbox.top); }
      u.ctx.stroke();
      u.ctx.restore();
    }
    u.ctx.restore();
  }

  const resized = new ResizeObserver(() => row && charts[0] && Math.abs(charts[0].width - feed.clientWidth) > 2 && plot());
  resized.observe(feed);
  load();
  return {
    refresh: () => { if (row && list()) state(); if (Date.now() - last > periodMs(Number(chosen.span)) && plant.live) load(); },
    recolor: () => row && plot(), rebuild: load,
    params: (next) => { chosen = read(next); load(); },
    close: () => { closed = true; resized.disconnect(); for (const chart of charts) chart.destroy(); },
  };
}
