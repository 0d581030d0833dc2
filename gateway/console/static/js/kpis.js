// Key figures of the alarm system against what ISA-18.2 and EEMUA 191 ask for; by what a hand can count.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { color, h, rem, text } from "./dom.js";
import { font, level, timeLabels } from "./drawing.js";
import { number, parts, plain, span, stamp, utc, zoneName } from "./format.js";
import { t } from "./i18n.js";
import { get, MS } from "./plant.js";
import { link, note } from "./route.js";
import { sheet } from "./sheet.js";

const SPANS = { day: 1, week: 7, month: 30, quarter: 90 };
const DAY_MS = 86_400_000;
/** Figure: [value of the row, decimals, unit, target, bound]; above the bound it is marked. Targets: ISA-18.2 clause 16, EEMUA 191. */
const FIGURES = {
  per_10min: [(k) => k.per_10min, 2, "", "≈ 1", 2],
  per_hour: [(k) => k.per_hour, 1, "", "≈ 6", 12],
  per_day: [(k) => k.per_day, 0, "", "≈ 144", 288],
  max_10min: [(k) => k.max_10min, 0, "", "≤ 10", 10],
  hours_over_30: [(k) => k.hours_over_30, 2, "%", "< 1 %", 1],
  windows_over_5: [(k) => k.windows_over_5, 2, "%", "< 1 %", 1],
  flood_pct: [(k) => k.flood_pct, 2, "%", "< 1 %", 1],
  top_share: [(k) => k.top_share, 1, "%", "1 … 5 %", 5],
  chattering: [(k) => k.chattering.length, 0, "", "0", 0],
  fleeting: [(k) => k.fleeting, 0, "", "0", 0],
  stale: [(k) => k.stale.length, 0, "", "< 5", 4],
  standing: [(k) => k.standing, 0, "", "< 10", 9],
  unacknowledged: [(k) => k.unacknowledged, 0, "", "", Infinity],
  refused: [(k) => k.refused, 0, "", "", Infinity],
};
const SHARES = { 1: "< 1 %", 2: "≈ 5 %", 3: "≈ 15 %", 4: "≈ 80 %" };

export function kpis(root, params) {
  let chosen = read(params);
  let row = null;
  let chart = null;
  let closed = false;
  let turn = 0;
  const tabs = h("div", { class: "tabs", role: "group", "aria-label": t("kpi.span") }, Object.keys(SPANS).map((key) => h("button", { type: "button", "data-span": key, onclick: () => choose({ span: key, to: "" }) }, t(`kpi.span.${key}`))));
  const until = h("input", { type: "date", "aria-label": t("kpi.until"), onchange: () => choose({ to: until.value }) });
  const csv = h("a", { class: "button", download: "alarm-kpis.csv" }, "CSV");
  const print = h("button", { type: "button", onclick: () => window.print() }, t("audit.print"));
  const told = h("span", { class: "count", role: "status" });
  const figures = h("div", { class: "scroll-x" });
  const host = h("div", { class: "k-plot" });
  const words = h("p", { class: "quiet" });
  const lists = h("div", { class: "k-lists" });
  const empty = h("p", { class: "empty" });
  root.append(h("div", { class: "office-page kpi-page" },
    h("div", { class: "bar" }, tabs, h("label", { class: "check" }, t("kpi.until"), until), told, h("span", { class: "push" }), print, csv),
    empty,
    h("section", { class: "panel" }, h("h2", null, t("kpi.rate")), host, words),
    h("div", { class: "k-two" }, h("section", { class: "panel" }, h("h2", null, t("kpi.figures")), figures), lists)));

  function read(source) {
    return { span: SPANS[source.get("span")] ? source.get("span") : "week", to: source.get("to") ?? "" };
  }

  function choose(part) {
    chosen = { ...chosen, ...part };
    note("kpis", chosen);
    load();
  }

  function bounds() {
    const to = chosen.to ? Date.parse(`${chosen.to}T00:00:00Z`) + DAY_MS - offset(Date.parse(`${chosen.to}T00:00:00Z`)) : Date.now();
    return [Math.max(0, to - SPANS[chosen.span] * DAY_MS), to];
  }

  function offset(ms) {
    const p = parts(ms);
    return Date.UTC(p.year, p.month - 1, p.day, p.hour, p.minute, p.second) - Math.floor(ms / 1000) * 1000;
  }

  async function load() {
    const mine = ++turn;
    until.value = chosen.to;
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.dataset.span === chosen.span));
    const [from, to] = bounds();
    const query = `from=${from}000000&to=${to}000000`;
    csv.href = `api/v1/alarms/kpis?${query}&format=csv`;
    try {
      const found = await get(`api/v1/alarms/kpis?${query}`);
      if (closed || mine !== turn) return;
      row = found;
      empty.hidden = true;
      draw();
    } catch (error) {
      if (closed || mine !== turn) return;
      empty.hidden = false;
      text(empty, error.message);
    }
  }

  const alarm = (r) => h("a", { href: link("alarms", { view: "history", q: r.alarm }), title: `${r.edge} · ${r.alarm}` }, r.alarm);

  function draw() {
    text(told, t("kpi.told", { from: stamp(row.from_ns / MS).slice(0, 16), to: stamp(row.to_ns / MS).slice(0, 16), calls: plain(row.calls), positions: row.positions }));
    const shown = Object.entries(FIGURES).map(([key, [value, digits, unit, target, bound]]) => ({ key, value: value(row), digits, unit, target, bad: value(row) !== null && value(row) > bound }));
    const waits = [["mtta", row.mtta_s], ["mtta_median", row.mtta_median_s], ["mtta_longest", row.mtta_longest_s], ["shelved", row.suppressed_s.shelved], ["designed", row.suppressed_s.designed], ["out_of_service", row.suppressed_s.out_of_service]];
    figures.replaceChildren(sheet([
      [t("kpi.figure"), (f) => h("span", { title: t(`kpi.why.${f.key}`) }, t(`kpi.${f.key}`))],
      [t("kpi.value"), (f) => h("span", { class: f.bad ? "trouble" : null }, f.value === null ? "—" : `${number(f.value, f.digits)} ${f.unit}`.trim()), "n"],
      [t("kpi.target"), (f) => f.target, "n"],
    ], shown, { caption: told.textContent, mark: (f) => ({ "data-figure": f.key }) }),
    sheet([[t("kpi.time"), ([key]) => t(`kpi.${key}`)], [t("kpi.value"), ([, s]) => (s === null ? "—" : span(s)), "n"]], waits, { mark: ([key]) => ({ "data-figure": key }) }));
    const priorities = [1, 2, 3, 4].map((p) => ({ p, n: row.priorities[p], share: row.calls ? (100 * row.priorities[p]) / row.calls : null }));
    lists.replaceChildren(
      part("kpi.priorities", sheet([[t("alarm.priority"), (r) => `${r.p} ${t(`priority.${r.p}`)}`], [t("kpi.calls"), (r) => plain(r.n), "n"], [t("kpi.share"), (r) => bar(r.share), "k-share"], [t("kpi.target"), (r) => SHARES[r.p], "n"]], priorities)),
      part("kpi.top", row.top.length ? sheet([[t("alarm.what"), alarm], [t("kpi.calls"), (r) => plain(r.calls), "n"], [t("kpi.share"), (r) => bar(r.share), "k-share"]], row.top) : none()),
      part("kpi.chattering", row.chattering.length ? sheet([[t("alarm.what"), alarm], [t("kpi.calls"), (r) => plain(r.calls), "n"], [t("kpi.index"), (r) => `${number(r.index, 3)} /s`, "n"]], row.chattering.slice(0, 10)) : none()),
      part("kpi.stale", row.stale.length ? sheet([[t("alarm.what"), alarm], [t("alarm.since"), (r) => h("span", { title: utc(r.raised_ns / MS) }, stamp(r.raised_ns / MS))], [t("kpi.stands"), (r) => span(r.hours * 3600), "n"]], row.stale.slice(0, 10)) : none()),
      part("kpi.floods", row.floods.length ? sheet([[t("kpi.from"), (r) => stamp(r.from_ns / MS)], [t("kpi.lasted"), (r) => span((r.to_ns - r.from_ns) / 1e9), "n"], [t("kpi.calls"), (r) => plain(r.calls), "n"], [t("kpi.first"), (r) => r.first.split("~").slice(1).join("~")]], row.floods.slice(-10)) : none()));
    plot();
  }

  const none = () => h("p", { class: "quiet" }, t("kpi.none"));
  const part = (word, node) => h("section", { class: "panel" }, h("h2", null, t(word)), h("div", { class: "scroll-x" }, node));

  function bar(share) {
    if (share === null) return "—";
    const inner = h("i", { "aria-hidden": "true" });
    inner.style.width = `${Math.max(1, share)}%`;
    return h("span", { class: "k-bar" }, h("b", null, `${number(share, 1)} %`), h("span", null, inner));
  }

  function plot() {
    chart?.destroy();
    const limit = { 600: 10, 3600: 30, 86400: 288 }[row.bucket_s] * row.positions;
    text(words, t(`kpi.bars.${row.bucket_s}`, { limit: plain(limit) }));
    const x = row.start_ns.map((ns) => ns / 1e9);
    const ink = () => color("quiet");
    chart = new uPlot({
      width: host.clientWidth || 800, height: rem(13), legend: { show: false }, cursor: { show: false },
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      scales: { x: { time: true, range: [x[0], x.at(-1) + row.bucket_s] }, y: { range: (_u, _min, max) => [0, Math.max(max ?? 0, limit) * 1.08] } },
      axes: [{ stroke: ink, font: font(), grid: { stroke: () => color("grid"), width: 1 }, values: timeLabels },
        { stroke: ink, font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(3.2), incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000] }],
      series: [{}, { stroke: () => color("trace"), fill: () => color("spread"), width: 1, paths: uPlot.paths.bars({ align: 1, size: [1, 100] }), points: { show: false } }],
      hooks: { drawClear: [floods], draw: [(u) => level(u, limit)] },
    }, [x, row.count], host);
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", t("kpi.rate"));
  }

  function floods(u) {
    u.ctx.fillStyle = color("band");
    for (const f of row.floods) {
      const a = u.valToPos(f.from_ns / 1e9, "x", true);
      const b = Math.max(u.valToPos(f.to_ns / 1e9, "x", true), a + 2);
      u.ctx.fillRect(a, u.bbox.top, b - a, u.bbox.height);
    }
  }

  const resized = new ResizeObserver(() => row && chart && Math.abs(chart.width - host.clientWidth) > 2 && plot());
  resized.observe(host);
  load();
  return {
    refresh: () => {}, recolor: () => row && plot(),
    params: (next) => { chosen = read(next); load(); },
    close: () => { closed = true; resized.disconnect(); chart?.destroy(); },
  };
}
