// Spectra and waveforms of one stream: the newest against its reference, how it was taken, all of a span as a waterfall, and what soft sensors make of them.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { attribute, color, h, rem, text } from "./dom.js";
import { font, hatch } from "./drawing.js";
import { clock, number, parts, plain, stamp, unit, utc, zoneName } from "./format.js";
import { t } from "./i18n.js";
import { tagTitle } from "./marks.js";
import { get, MS, plant } from "./plant.js";
import { note } from "./route.js";
import { choice, field } from "./sheet.js";

const SPANS = ["900", "3600", "28800", "86400"];
const COUNT = 120;
const POINTS = 400;
const AGAIN_MS = 5000;
/** Deviations from the reference, in standard deviations, at which the waterfall is darkest. */
const DARKEST = 6;
/** T2 and Q beyond so many times their limit say nothing more. */
const MOST_DISTANCE = 5;
const WHY = [[2, "saturated"], [4, "q"], [8, "t2"], [16, "range"], [32, "axis"], [64, "acquisition"]];
const FACTS = ["status", "counter", "integration_s", "scans", "instrument", "probe", "background", "background_ns", "cycle", "sample"];

export function spectra(root, params) {
  let chosen = read(params);
  let row = null;
  let at = null; // time of the spectrum that is shown; null: always the newest
  let plots = [];
  let closed = false;
  let turn = 0;
  let loaded = -Infinity;
  let width = 0;
  const stream = choice([]);
  const spans = choice(SPANS.map((s) => [s, t(`range.${s}`)]), chosen.span);
  stream.addEventListener("change", () => choose({ tag: stream.value }));
  spans.addEventListener("change", () => choose({ span: spans.value }));
  const newest = h("button", { type: "button", onclick: () => { at = null; draw(); } }, t("spectra.newest"));
  const empty = h("p", { class: "empty" });
  const title = h("h2");
  const state = h("span", { class: "x-state", role: "status" });
  const curve = h("div", { class: "x-curve", role: "img" });
  const legend = h("p", { class: "quiet" });
  const facts = h("dl", { class: "facts tall" });
  const fall = h("canvas", { class: "x-fall", role: "img" });
  const slide = h("input", { type: "range", class: "x-slide", min: 0, step: 1, "aria-label": t("spectra.which") });
  const told = h("p", { class: "quiet" });
  const sensors = h("div", { class: "k-lists" });
  const body = h("div", { class: "k-lists", hidden: true },
    h("div", { class: "x-two" },
      h("section", { class: "panel" }, h("header", null, title, state), curve, legend),
      h("section", { class: "panel" }, h("h2", null, t("spectra.how")), facts)),
    h("section", { class: "panel" }, h("h2", null, t("spectra.waterfall")), fall, slide, told), sensors);
  root.append(h("div", { class: "office-page kpi-page spectra-page" },
    h("div", { class: "bar" }, field(t("spectra.stream"), stream), field(t("kpi.span"), spans), h("span", { class: "push" }), newest), empty, body));
  slide.addEventListener("input", () => pickRow(Number(slide.value)));
  fall.addEventListener("click", (event) => row && pickRow(Math.floor(((event.clientY - fall.getBoundingClientRect().top) / fall.clientHeight) * row.time_ns.length)));

  function read(source) {
    return { tag: source.get("tag") ?? "", span: SPANS.includes(source.get("span")) ? source.get("span") : "3600" };
  }

  const streams = () => [...plant.tags.values()].filter((tag) => tag.kind === "block");

  function offer() {
    const known = streams();
    if (!chosen.tag && known.length) chosen.tag = known[0].key;
    stream.replaceChildren(...known.map((tag) => h("option", { value: tag.key }, tagTitle(tag))));
    stream.value = chosen.tag;
    spans.value = chosen.span;
  }

  function choose(part) {
    chosen = { ...chosen, ...part };
    at = null;
    note("spectra", chosen);
    load();
  }

  function pickRow(place) {
    const last = row.time_ns.length - 1;
    const index = Math.max(0, Math.min(last, place));
    at = index === last ? null : row.time_ns[index];
    draw();
  }

  async function load() {
    const mine = ++turn;
    offer();
    loaded = plant.now();
    if (!chosen.tag) return say(plant.ready ? t("spectra.none") : t("loading"));
    const to = Math.round(plant.now());
    const query = new URLSearchParams({ tag: chosen.tag, from: `${to - chosen.span * 1000}000000`, to: `${to}000000`, count: COUNT });
    try {
      const found = await get(`api/v1/blocks?${query}`);
      const trends = await Promise.all(sensorsOf().map((base) => trend(base, to)));
      if (closed || mine !== turn) return;
      row = found;
      if (!row.time_ns.length) return say(t("spectra.nothing"));
      empty.hidden = true;
      body.hidden = false;
      if (at !== null && !row.time_ns.includes(at)) at = null;
      sensorPanels(trends);
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

  // What soft sensors make of the stream

  function sensorsOf() {
    const [edge] = chosen.tag.split(":", 1);
    const name = chosen.tag.slice(edge.length + 1);
    return [...plant.tags.values()].filter((tag) => tag.edge === edge && tag.derived_from.includes(name) && tag.name.endsWith(".value")).map((tag) => tag.key.slice(0, -".value".length)).filter((base) => plant.tags.has(`${base}.valid`));
  }

  async function trend(base, to) {
    const one = (output) => get(`api/v1/series?${new URLSearchParams({ tag: `${base}.${output}`, from: `${to - chosen.span * 1000}000000`, to: `${to}000000`, points: POINTS })}`);
    const [value, low, high, valid, t2, q] = await Promise.all(["value", "low", "high", "valid", "t2", "q"].map((o) => (plant.tags.has(`${base}.${o}`) ? one(o) : null)));
    return { base, value, low, high, valid, t2, q, from: to / 1000 - Number(chosen.span), to: to / 1000 };
  }

  let shownTrends = [];
  function sensorPanels(trends) {
    shownTrends = trends.map((one) => ({ ...one, host: h("div", { class: "x-trend", role: "img" }), odd: one.t2 && one.q ? h("div", { class: "x-odd", role: "img", "aria-label": t("spectra.odd") }) : null }));
    sensors.replaceChildren(...shownTrends.map((one) => {
      const tag = plant.tags.get(`${one.base}.value`);
      one.now = h("p", { class: "x-now" });
      attribute(one.host, "aria-label", `${tag.name}: ${t("spectra.band")}`);
      return h("section", { class: "panel", "data-sensor": tag.name }, h("h2", null, `${tag.name.slice(0, -".value".length)} · ${unit(tag.unit)}`), one.now, one.host, h("p", { class: "quiet" }, t("spectra.band")), one.odd, one.odd && h("p", { class: "quiet" }, t("spectra.odd")));
    }));
    current();
  }

  /** The newest answer in words: a number only where it counts. */
  function current() {
    for (const one of shownTrends) {
      const last = (output) => {
        const told = plant.tags.get(`${one.base}.${output}`);
        return told && told.time_ns !== null ? { value: told.value, time_ns: told.time_ns, quality: plant.quality(told).quality } : null;
      };
      const tag = plant.tags.get(`${one.base}.value`);
      const [value, low, high, valid, why] = ["value", "low", "high", "valid", "why"].map(last);
      if (!value) continue;
      const sound = valid?.value === 1 && value.quality === "good";
      const shown = (v) => (v && typeof v.value === "number" ? number(v.value, tag.decimals) : "—");
      const reasons = WHY.filter(([bit]) => (why?.value ?? 0) & bit).map(([, word]) => t(`spectra.why.${word}`));
      if (!reasons.length && (why?.value ?? 0) & 1) reasons.push(t("spectra.why.none"));
      const words = sound ? t("spectra.says", { value: shown(value), unit: unit(tag.unit), low: shown(low), high: shown(high) })
        : `${t(value.quality === "stale" ? "spectra.stale" : "spectra.invalid")}${reasons.length ? `: ${reasons.join(t("spectra.and"))}` : ""}`;
      text(one.now, `${words} · ${clock(value.time_ns / MS)}`);
      attribute(one.now, "data-sound", sound ? "" : null);
    }
  }

  // Drawing

  const index = () => (at === null ? row.time_ns.length - 1 : Math.max(0, row.time_ns.indexOf(at)));

  function draw() {
    if (!row) return;
    const i = index();
    const last = row.time_ns.length - 1;
    text(title, `${t(at === null ? "spectra.current" : "spectra.chosen")} · ${stamp(row.time_ns[i] / MS)}`);
    title.title = utc(row.time_ns[i] / MS);
    const quality = ["good", "uncertain", "bad"][row.quality[i]];
    text(state, t(`spectra.quality.${quality}`));
    attribute(state, "data-quality", quality);
    newest.disabled = at === null;
    slide.max = String(last);
    slide.value = String(i);
    attribute(slide, "aria-valuetext", stamp(row.time_ns[i] / MS));
    text(legend, row.reference ? t("spectra.legend", { n: plain(row.reference.n) }) : t("spectra.noReference"));
    text(told, [t("spectra.told", { n: plain(row.time_ns.length), of: plain(row.found) }), row.other_axis ? t("spectra.otherAxis", { n: plain(row.other_axis) }) : "", row.every > 1 ? t("spectra.every", { n: plain(row.every) }) : ""].filter(Boolean).join(" "));
    acquired(row.acquisition[i]);
    plot();
  }

  function acquired(a) {
    const shown = {
      status: (v) => t(`spectra.status.${v}`), integration_s: (v) => `${plain(v * 1000)} ms`, background_ns: (v) => stamp(v / MS),
      background: (v) => (v.startsWith("sha256:") ? v.slice(0, 15) + "…" : v),
      cycle: (v) => t(`spectra.cycle.${[0, 1, 2, 4, 8, 16].includes(v & ~32768) ? v & ~32768 : "other"}`),
    };
    facts.replaceChildren(...FACTS.flatMap((key) => {
      const value = a[key];
      const known = value !== undefined && value !== null && value !== "";
      return [h("dt", null, t(`spectra.fact.${key}`)), h("dd", { title: known ? String(value) : null, "data-fact": key }, known ? (shown[key] ?? String)(value) : "—")];
    }));
  }

  const axisTitle = () => (row.axis_unit ? `${t(row.axis_unit === "s" ? "spectra.time" : row.axis_unit === "1/cm" ? "spectra.wavenumber" : "spectra.wavelength")} (${unit(row.axis_unit)})` : "");

  function plot() {
    for (const one of plots) one.destroy();
    plots = [];
    width = curve.clientWidth;
    const rising = row.axis[0] < row.axis[row.axis.length - 1];
    const turned = (values) => (rising ? values : [...values].reverse());
    const ref = row.reference;
    const data = [turned(row.axis)];
    const lines = [{}];
    if (ref) {
      data.push(turned(ref.low), turned(ref.high), turned(ref.median));
      lines.push({ stroke: "transparent", width: 0 }, { stroke: "transparent", width: 0 }, { stroke: () => color("quiet"), width: 1, dash: [6, 4] });
    }
    // Drawn last, so that the band does not cover it.
    data.push(turned(row.values[index()]));
    lines.push({ stroke: () => color("trace"), width: 2 });
    attribute(curve, "aria-label", title.textContent);
    plots.push(new uPlot({
      width: width || 700, height: rem(17), legend: { show: false }, cursor: { show: false }, padding: [8, rem(1.6), 0, 0],
      scales: { x: { time: false } },
      bands: ref ? [{ series: [2, 1], fill: color("band") }] : [],
      axes: [{ stroke: () => color("quiet"), font: font(), grid: { show: false }, size: rem(1.9), values: (_u, splits) => splits.map(plain), label: axisTitle(), labelSize: rem(1.4), labelFont: font() },
        { stroke: () => color("quiet"), font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(4), label: unit(row.unit), labelSize: rem(1.3), labelFont: font() }],
      series: lines.map((line) => ({ ...line, points: { show: false } })),
    }, data, curve));
    waterfall(rising);
    for (const one of shownTrends) plots.push(band(one));
    for (const one of shownTrends) if (one.odd) plots.push(distances(one));
  }

  /** One line of the picture for each spectrum, oldest on top; dark where it lies far from the reference. */
  function waterfall(rising) {
    const ratio = devicePixelRatio || 1;
    const left = rem(4);
    const bottom = rem(1.3);
    fall.width = Math.round((fall.clientWidth || 700) * ratio);
    fall.height = Math.round((fall.clientHeight || 240) * ratio);
    const pen = fall.getContext("2d");
    const n = row.time_ns.length;
    const k = row.axis.length;
    const [x0, y1] = [left * ratio, fall.height - bottom * ratio];
    const [above, below, paper] = ["ink", "trace", "panel"].map((name) => rgb(color(name)));
    const cells = new ImageData(k, n);
    const ref = row.reference;
    const all = ref ? null : row.values.flat().filter((v) => v !== null);
    const [least, most] = all ? [all.reduce((a, b) => Math.min(a, b), Infinity), all.reduce((a, b) => Math.max(a, b), -Infinity)] : [0, 1];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < k; j++) {
        const from = rising ? j : k - 1 - j;
        const value = row.values[i][from];
        const sd = ref ? Math.max((ref.high[from] - ref.low[from]) / 6, 1e-12) : 1;
        const far = value === null ? 0 : ref ? (value - ref.median[from]) / sd / DARKEST : (value - least) / (most - least || 1);
        const share = Math.min(1, Math.abs(far));
        const ink = far < 0 ? below : above;
        for (let c = 0; c < 3; c++) cells.data[4 * (i * k + j) + c] = paper[c] + (ink[c] - paper[c]) * share;
        cells.data[4 * (i * k + j) + 3] = 255;
      }
    }
    const small = h("canvas", { width: k, height: n });
    small.getContext("2d").putImageData(cells, 0, 0);
    pen.clearRect(0, 0, fall.width, fall.height);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, x0, 0, fall.width - x0, y1);
    const high = y1 / n;
    row.quality.forEach((quality, i) => quality === 2 && hatch(pen, x0, i * high, fall.width, (i + 1) * high, ratio, color("quiet"), 5, 1));
    pen.strokeStyle = color("trace");
    pen.lineWidth = 2 * ratio;
    pen.strokeRect(x0 + ratio, index() * high, fall.width - x0 - 2 * ratio, Math.max(high, 3 * ratio));
    pen.fillStyle = color("ink");
    pen.font = font(0.75, ratio);
    pen.textAlign = "right";
    for (const [i, base] of [[0, "top"], [Math.floor(n / 2), "middle"], [n - 1, "bottom"]]) {
      pen.textBaseline = base;
      if (i !== 0 || n > 2) pen.fillText(clock(row.time_ns[i] / MS), x0 - 6 * ratio, base === "top" ? 2 * ratio : base === "bottom" ? y1 : (i + 0.5) * high);
    }
    pen.textBaseline = "bottom";
    const ends = rising ? [row.axis[0], row.axis[k - 1]] : [row.axis[k - 1], row.axis[0]];
    pen.textAlign = "left";
    pen.fillText(plain(ends[0]), x0, fall.height);
    pen.textAlign = "center";
    pen.fillText(axisTitle(), (x0 + fall.width) / 2, fall.height);
    pen.textAlign = "right";
    pen.fillText(plain(ends[1]), fall.width - 2 * ratio, fall.height);
    attribute(fall, "aria-label", `${t("spectra.waterfall")}: ${told.textContent}`);
  }

  /** The property with its interval; spans in which it is not valid are hatched. */
  function band(one) {
    const tag = plant.tags.get(`${one.base}.value`);
    const x = one.value.time_ns.map((ns) => ns / 1e9);
    const of = (series, column) => { const by = new Map(series.time_ns.map((ns, i) => [ns, series[column][i]])); return one.value.time_ns.map((ns) => by.get(ns) ?? null); };
    const valid = of(one.valid, "min");
    // A number that is not valid is no number of the trace.
    const only = (values) => values.map((v, i) => (valid[i] === 1 ? v : null));
    const data = [x, only(of(one.value, "mean")), only(of(one.low, "mean")), only(of(one.high, "mean"))];
    const step = x.length > 1 ? (x[x.length - 1] - x[0]) / (x.length - 1) : 1;
    const limits = tag.limits.filter((l) => typeof l.limit === "number");
    const seen = [...data[1], ...data[2], ...data[3], ...limits.map((l) => l.limit)].filter((v) => v !== null);
    const [least, most] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [0, 1];
    const room = (most - least || 1) * 0.1;
    const ratio = devicePixelRatio || 1;
    return new uPlot({
      width: width && one.host.clientWidth ? one.host.clientWidth : 900, height: rem(13), legend: { show: false }, cursor: { show: false }, padding: [8, rem(5), 0, 0],
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      scales: { x: { time: true, range: () => [one.from, one.to] }, y: { range: () => [least - room, most + room] } },
      bands: [{ series: [3, 2], fill: color("spread") }],
      axes: [{ stroke: () => color("quiet"), font: font(), grid: { show: false }, size: rem(1.9), values: (_u, splits) => splits.map((s) => { const p = parts(s * 1000); return `${p.hour}:${p.minute}`; }) },
        { stroke: () => color("quiet"), font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(4) }],
      series: [{}, { stroke: () => color("trace"), width: 2 }, { stroke: () => color("trace"), width: 0.5 }, { stroke: () => color("trace"), width: 0.5 }].map((s) => ({ ...s, points: { show: false }, spanGaps: false })),
      hooks: {
        drawClear: [(u) => {
          for (const [from, to] of runs(x, valid, step)) hatch(u.ctx, Math.max(u.bbox.left, u.valToPos(from, "x", true)), u.bbox.top, Math.min(u.bbox.left + u.bbox.width, u.valToPos(to, "x", true)), u.bbox.top + u.bbox.height, ratio, color("outline"), 6, 1);
        }],
        draw: [(u) => limits.forEach((l) => {
          const y = Math.round(u.valToPos(l.limit, "y", true)) + 0.5;
          u.ctx.save();
          u.ctx.strokeStyle = color("ink");
          u.ctx.setLineDash([6 * ratio, 4 * ratio]);
          u.ctx.beginPath();
          u.ctx.moveTo(u.bbox.left, y);
          u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
          u.ctx.stroke();
          u.ctx.fillStyle = color("ink");
          u.ctx.font = `${Math.round(rem(0.75) * ratio)}px system-ui, sans-serif`;
          u.ctx.textBaseline = "middle";
          u.ctx.textAlign = "left";
          u.ctx.fillText(number(l.limit, tag.decimals), u.bbox.left + u.bbox.width + 4 * ratio, y);
          u.ctx.restore();
        })],
      },
    }, data, one.host);
  }

  /** How far the spectra lie from the calibration: T2 and Q, both in multiples of their limit, at which they are cut off where they are many times that. */
  function distances(one) {
    const x = one.t2.time_ns.map((ns) => ns / 1e9);
    const by = new Map(one.q.time_ns.map((ns, i) => [ns, one.q.max[i]]));
    const cut = (v) => (typeof v === "number" ? Math.min(v, MOST_DISTANCE) : null);
    const data = [x, one.t2.max.map(cut), one.t2.time_ns.map((ns) => cut(by.get(ns)))];
    const most = Math.max(1.5, ...data[1], ...data[2]);
    const ratio = devicePixelRatio || 1;
    return new uPlot({
      width: width && one.odd.clientWidth ? one.odd.clientWidth : 900, height: rem(9), legend: { show: false }, cursor: { show: false }, padding: [8, rem(5), 0, 0],
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      scales: { x: { time: true, range: () => [one.from, one.to] }, y: { range: () => [0, most * 1.05] } },
      axes: [{ stroke: () => color("quiet"), font: font(), grid: { show: false }, size: rem(1.9), values: (_u, splits) => splits.map((s) => { const p = parts(s * 1000); return `${p.hour}:${p.minute}`; }) },
        { stroke: () => color("quiet"), font: font(), grid: { stroke: () => color("grid"), width: 1 }, size: rem(4) }],
      series: [{}, { stroke: () => color("ink"), width: 1.5, dash: [2, 3] }, { stroke: () => color("trace"), width: 2 }].map((s) => ({ ...s, points: { show: false }, spanGaps: false })),
      hooks: {
        draw: [(u) => {
          const y = Math.round(u.valToPos(1, "y", true)) + 0.5;
          u.ctx.save();
          u.ctx.strokeStyle = color("ink");
          u.ctx.setLineDash([6 * ratio, 4 * ratio]);
          u.ctx.beginPath();
          u.ctx.moveTo(u.bbox.left, y);
          u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
          u.ctx.stroke();
          u.ctx.restore();
        }],
      },
    }, data, one.odd);
  }

  /** Spans (from, to) in seconds in which there was an answer, and it was not valid. */
  function runs(x, valid, step) {
    const found = [];
    x.forEach((s, i) => {
      if (valid[i] === 1 || valid[i] === null) return;
      const last = found[found.length - 1];
      if (last && s - last[1] <= step) last[1] = s + step / 2;
      else found.push([s - step / 2, s + step / 2]);
    });
    return found;
  }

  function rgb(hex) {
    const whole = hex.length === 4 ? [...hex.slice(1)].map((c) => c + c).join("") : hex.slice(1, 7);
    return [0, 2, 4].map((i) => parseInt(whole.slice(i, i + 2), 16));
  }

  const resized = new ResizeObserver(() => row && Math.abs(curve.clientWidth - width) > 2 && plot());
  resized.observe(curve);
  load();
  return {
    refresh: () => {
      if (!chosen.tag && streams().length) load();
      else if (chosen.tag && plant.now() - loaded > AGAIN_MS) load();
      else if (row) current();
    },
    recolor: () => row && draw(), rebuild: () => { offer(); if (!row || sensorsOf().length !== shownTrends.length) load(); },
    params: (next) => { chosen = read(next); at = null; load(); },
    close: () => { closed = true; resized.disconnect(); for (const one of plots) one.destroy(); },
  };
}
