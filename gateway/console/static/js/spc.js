// Control chart of one tag: single values with the rules they break, moving ranges, capability with its conditions.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { color, h, rem, text } from "./dom.js";
import { font, timeLabels } from "./drawing.js";
import { number, plain, span, stamp, unit, utc, zoneName } from "./format.js";
import { t } from "./i18n.js";
import { tagTitle } from "./marks.js";
import { get, leading, MS, plant } from "./plant.js";
import { link, note } from "./route.js";
import { search } from "./search.js";
import { choice, field, input, sheet } from "./sheet.js";

const SPANS = ["3600", "28800", "86400", "604800", "2592000"];
/** Rules that call for no action. */
const INFORMATION = { nelson: [3, 4, 7], western_electric: [] };
const INDICES = ["cp", "cpk", "pp", "ppk", "ppk_quantile"];

export function spc(root, params) {
  let chosen = read(params);
  let row = null;
  let charts = [];
  let closed = false;
  let turn = 0;
  const pick = h("button", { type: "button", class: "primary", onclick: () => search((tag) => choose({ tag: tag.key, lsl: "", usl: "" })) });
  const spans = choice(SPANS.map((s) => [s, t(`range.${s}`)]), chosen.span);
  const rules = choice(["nelson", "western_electric"].map((r) => [r, t(`spc.rules.${r}`)]), chosen.rules);
  const lsl = input({ inputmode: "decimal", class: "s-limit", maxlength: 20 });
  const usl = input({ inputmode: "decimal", class: "s-limit", maxlength: 20 });
  spans.addEventListener("change", () => choose({ span: spans.value }));
  rules.addEventListener("change", () => choose({ rules: rules.value }));
  lsl.addEventListener("change", () => choose({ lsl: lsl.value.trim() }));
  usl.addEventListener("change", () => choose({ usl: usl.value.trim() }));
  const told = h("p", { class: "quiet", role: "status" });
  const empty = h("p", { class: "empty" });
  const values = h("div", { class: "k-plot" });
  const ranges = h("div", { class: "s-range" });
  const verdict = h("div");
  const indices = h("div", { class: "scroll-x" });
  const findings = h("div", { class: "scroll-x" });
  const body = h("div", { class: "k-lists", hidden: true },
    h("section", { class: "panel" }, h("h2", null, t("spc.values")), values, h("h2", null, t("spc.ranges")), ranges, told),
    h("div", { class: "k-two" }, h("section", { class: "panel" }, h("h2", null, t("spc.capability")), verdict, indices), h("section", { class: "panel" }, h("h2", null, t("spc.findings")), findings)));
  root.append(h("div", { class: "office-page kpi-page" },
    h("div", { class: "bar" }, pick, field(t("kpi.span"), spans), field(t("spc.rules"), rules), field(t("spc.lsl"), lsl), field(t("spc.usl"), usl), h("span", { class: "push" }), h("button", { type: "button", onclick: load }, t("spc.again"))),
    empty, body));

  function read(source) {
    const one = (name, known, other) => (known.includes(source.get(name)) ? source.get(name) : other);
    return { tag: source.get("tag") ?? "", span: one("span", SPANS, "28800"), rules: one("rules", Object.keys(INFORMATION), "nelson"), lsl: source.get("lsl") ?? "", usl: source.get("usl") ?? "" };
  }

  function choose(part) {
    chosen = { ...chosen, ...part };
    note("spc", chosen);
    load();
  }

  function entitle() {
    const tag = plant.tags.get(chosen.tag);
    text(pick, tag ? `${tagTitle(tag)} (${unit(tag.unit)})` : chosen.tag || t("spc.choose"));
    pick.title = chosen.tag;
  }

  async function load() {
    const mine = ++turn;
    spans.value = chosen.span;
    rules.value = chosen.rules;
    lsl.value = chosen.lsl;
    usl.value = chosen.usl;
    entitle();
    if (!chosen.tag) {
      say(t("spc.none"));
      const tags = leading(plant.order.filter((tag) => !tag.derived_from.length), 8);
      if (tags.length) empty.append(h("div", { class: "offers" }, tags.map((tag) => h("a", { class: "button", href: link("spc", { tag: tag.key }) }, `${tag.unitName} · ${tagTitle(tag)}`))));
      return;
    }
    const query = new URLSearchParams({ tag: chosen.tag, rules: chosen.rules, from: `${Math.round(plant.now() - chosen.span * 1000)}000000`, to: `${Math.round(plant.now())}000000` });
    for (const side of ["lsl", "usl"]) if (chosen[side]) query.set(side, chosen[side].replace(",", "."));
    try {
      const found = await get(`api/v1/spc?${query}`);
      if (closed || mine !== turn) return;
      row = found;
      if (row.value.length < 2) return say(t("trends.noValues"));
      empty.hidden = true;
      body.hidden = false;
      draw();
    } catch (error) {
      if (!closed && mine === turn) say(error.message);
    }
  }

  function say(words) {
    row = null;
    empty.hidden = false;
    body.hidden = true;
    text(empty, words);
  }

  const digits = () => (plant.tags.get(chosen.tag)?.decimals ?? 2) + 1;
  const shown = (value) => `${number(value, digits())} ${unit(plant.tags.get(chosen.tag)?.unit ?? "")}`.trim();

  function draw() {
    const c = row.capability;
    text(told, [t("spc.told", { n: plain(row.value.length), every: span(row.every_s), left: plain(row.left_out) }), t("spc.limits", { mean: shown(row.mean), sigma: shown(row.sigma), lower: shown(row.lower), upper: shown(row.upper) })].join(" "));
    const known = c.lsl !== null || c.usl !== null;
    verdict.replaceChildren(
      known ? "" : h("p", null, t("spc.noSpec")),
      c.unmet.length ? h("ul", { class: "s-unmet" }, c.unmet.map((code) => h("li", { "data-unmet": code }, t(`spc.unmet.${code}`, { phi: number(row.phi, 2), every: row.tau_s === null ? "—" : span(Math.max(1, 3 * row.tau_s)), a: number(row.normality, 2) }))))
        : h("p", { class: "quiet" }, t("spc.met")));
    const figures = INDICES.map((key) => ({ key, value: c[key], more: key === "cpk" && c.cpk !== null ? t("spc.interval", { low: number(c.cpk_low, 2), high: number(c.cpk_high, 2) }) : "" }));
    indices.replaceChildren(sheet([
      [t("spc.index"), (f) => h("span", { title: t(`spc.why.${f.key}`) }, t(`spc.${f.key}`))],
      [t("kpi.value"), (f) => (f.value === null ? "—" : number(f.value, 2)), "n"],
      ["", (f) => f.more],
    ], figures, { mark: (f) => ({ "data-index": f.key }) }),
    known ? h("p", { class: "quiet" }, t("spc.outside", { n: plain(c.outside) })) : "");
    const hits = row.broken.flatMap((broken, i) => broken.map((rule) => ({ rule, i }))).reverse();
    findings.replaceChildren(hits.length ? sheet([
      [t("spc.when"), (f) => h("a", { href: link("trends", { tag: row.tag, from: new Date(row.time_ns[f.i] / MS - 1800000).toISOString(), to: new Date(row.time_ns[f.i] / MS + 1800000).toISOString() }), title: utc(row.time_ns[f.i] / MS) }, stamp(row.time_ns[f.i] / MS))],
      [t("kpi.value"), (f) => shown(row.value[f.i]), "n"],
      [t("spc.rule"), (f) => h("span", { class: INFORMATION[row.rules].includes(f.rule) ? "quiet" : "trouble" }, t(`spc.${row.rules}.${f.rule}`))],
    ], hits.slice(0, 40), { mark: (f) => ({ "data-rule": f.rule }) }) : h("p", { class: "quiet" }, t("spc.noFinding")), hits.length > 40 ? h("p", { class: "quiet" }, t("spc.more", { n: plain(hits.length - 40) })) : "");
    plot();
  }

  function plot() {
    for (const chart of charts) chart.destroy();
    const c = row.capability;
    const x = row.time_ns.map((ns) => ns / 1e9);
    const lines = [[row.mean, "outline", [], "x̄"], [row.upper, "quiet", [6, 4], "UCL"], [row.lower, "quiet", [6, 4], "LCL"], [c.lsl, "ink", [], "LSL"], [c.usl, "ink", [], "USL"]];
    charts = [one(values, x, row.value, rem(17), lines, marks, row.sigma), one(ranges, x, row.range, rem(8), [[row.range_mean, "outline", [], "R̄"], [row.range_upper, "quiet", [6, 4], "UCL"]], null, null)];
    values.setAttribute("role", "img");
    values.setAttribute("aria-label", t("spc.values"));
    ranges.setAttribute("role", "img");
    ranges.setAttribute("aria-label", t("spc.ranges"));
  }

  function one(host, x, y, height, lines, over, sigma) {
    const ink = () => color("quiet");
    const seen = [...y, ...lines.map(([value]) => value)].filter((value) => value !== null && Number.isFinite(value));
    const low = Math.min(...seen);
    const high = Math.max(...seen);
    const room = (high - low || Math.abs(high) || 1) * 0.08;
    return new uPlot({
      width: host.clientWidth || 800, height, legend: { show: false }, cursor: { show: false },
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      padding: [8, rem(2.6), 0, 0],
      scales: { x: { time: true }, y: { range: () => [low - room, high + room] } },
      axes: [{ stroke: ink, font: font(), grid: { show: false }, values: timeLabels },
        { stroke: ink, font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(4.2) }],
      series: [{}, { stroke: () => color("trace"), width: 1, points: { show: true, size: 4, fill: () => color("trace") } }],
      hooks: {
        drawClear: [(u) => sigma && zones(u, sigma)],
        draw: [(u) => { for (const [value, ink, dash, name] of lines) if (value !== null) rule(u, value, color(ink), dash, name); if (over) over(u); }],
      },
    }, [x, y], host);
  }

  /** The zone within one sigma, so that the eye can count. */
  function zones(u, sigma) {
    const top = u.valToPos(row.mean + sigma, "y", true);
    u.ctx.fillStyle = color("band");
    u.ctx.globalAlpha = 0.5;
    u.ctx.fillRect(u.bbox.left, top, u.bbox.width, u.valToPos(row.mean - sigma, "y", true) - top);
    u.ctx.globalAlpha = 1;
  }

  function rule(u, value, ink, dash, name) {
    const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
    u.ctx.save();
    u.ctx.strokeStyle = ink;
    u.ctx.setLineDash(dash);
    u.ctx.beginPath();
    u.ctx.moveTo(u.bbox.left, y);
    u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
    u.ctx.stroke();
    u.ctx.fillStyle = color("ink");
    u.ctx.font = `${Math.round(rem(0.75) * (devicePixelRatio || 1))}px system-ui, sans-serif`;
    u.ctx.textBaseline = "middle";
    u.ctx.textAlign = "left";
    u.ctx.fillText(name, u.bbox.left + u.bbox.width + 4, y);
    u.ctx.restore();
  }

  /** A ring and the number of the rule; hollow and grey where it is information only. */
  function marks(u) {
    const ratio = devicePixelRatio || 1;
    u.ctx.save();
    u.ctx.font = `${Math.round(rem(0.7) * ratio)}px system-ui, sans-serif`;
    u.ctx.textAlign = "center";
    let free = -Infinity;
    row.broken.forEach((broken, i) => {
      if (!broken.length) return;
      const calls = broken.filter((number) => !INFORMATION[row.rules].includes(number));
      const ink = color(calls.length ? "ink" : "outline");
      const x = u.valToPos(row.time_ns[i] / 1e9, "x", true);
      const y = u.valToPos(row.value[i], "y", true);
      u.ctx.strokeStyle = ink;
      u.ctx.lineWidth = 2 * ratio;
      u.ctx.beginPath();
      u.ctx.arc(x, y, 5 * ratio, 0, 2 * Math.PI);
      u.ctx.stroke();
      if (x < free) return;
      free = x + 11 * ratio;
      u.ctx.fillStyle = ink;
      u.ctx.fillText(String(calls[0] ?? broken[0]), x, y + (row.value[i] >= row.mean ? -9 : 17) * ratio);
    });
    u.ctx.restore();
  }

  const resized = new ResizeObserver(() => row && charts[0] && Math.abs(charts[0].width - values.clientWidth) > 2 && plot());
  resized.observe(values);
  load();
  return {
    refresh: () => {}, recolor: () => row && plot(), rebuild: () => { entitle(); if (row) draw(); else load(); }, add: (tag) => choose({ tag: tag.key, lsl: "", usl: "" }),
    params: (next) => { chosen = read(next); load(); },
    close: () => { closed = true; resized.disconnect(); for (const chart of charts) chart.destroy(); },
  };
}
