// One pane of a trend: the line, its spread, limits, quality, alarms and batch phases on one time axis.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { attribute, color, h, rem, text } from "./dom.js";
import { FAMILY, font } from "./drawing.js";
import { clock, day, number, parts, unit, zoneName } from "./format.js";
import { t } from "./i18n.js";
import { alarmTitle, tagTitle } from "./marks.js";
import { over, under } from "./painting.js";
import { MS, statusQuality, plant } from "./plant.js";

const CURSORS = uPlot.sync("trends");

function axisTimes(_chart, splits, _axis, _space, step) {
  let before = "";
  return splits.map((s) => {
    const p = parts(s * 1000);
    const date = `${p.month}-${p.day}`;
    const label = step >= 86400 ? date : step >= 60 ? `${p.hour}:${p.minute}` : `${p.hour}:${p.minute}:${p.second}`;
    const shown = step < 86400 && date !== before && (before || p.hour === "00") ? `${label}\n${date}` : label;
    before = date;
    return shown;
  });
}

export class Pane {
  #chart = null;
  #row = null;
  #columns = [[], [], [], []];
  #gaps = [];
  #strips = [];
  #width = 0;
  #words = [];
  #hits = [];

  /** `view()` tells from and to in s; `zoom(from, to)`, `out()` and `remove()` act on the whole page; `over(s)` tells where the cursor is,
   *  `point(s)` where it was pressed, `mark(row)` that an alarm's mark was. */
  constructor(key, { view, zoom, out, remove, over, point, mark }) {
    this.key = key;
    this.act = { view, zoom, out, over, point, mark };
    this.alarms = [];
    this.phases = [];
    this.modes = [];
    this.last = false;
    this.error = "";
    this.name = h("b", { class: "p-name" });
    this.code = h("span", { class: "i-code" });
    this.value = h("span", { class: "p-value" });
    this.extent = h("span", { class: "p-extent" });
    this.level = h("span", { class: "p-level" });
    this.host = h("div", { class: "p-plot" });
    this.words = h("p", { class: "p-words" });
    this.node = h("section", { class: "pane panel", "data-tag": key },
      h("header", null, this.name, this.code, this.value, this.extent, this.level, remove ? h("button", { type: "button", class: "close", "aria-label": t("trends.remove", { tag: key }), title: t("trends.removeShort"), onclick: remove }, "×") : null),
      this.host, this.words);
  }

  get tag() {
    return plant.tags.get(this.key);
  }

  get isText() {
    return this.tag?.kind === "text";
  }

  /** When the first value is, in s. */
  get begins() {
    return this.#row?.time_ns.length ? this.#row.time_ns[0] / 1e9 : null;
  }

  show(row) {
    this.#row = row;
    this.error = "";
    this.#shape();
    this.draw();
  }

  fail(words) {
    this.error = words;
    this.draw();
  }

  /** The newest live value goes on the end of a raw series at once. */
  extend() {
    const tag = this.tag;
    const row = this.#row;
    if (!tag || !row || this.isText || row.level !== "raw" || tag.time_ns === null || typeof tag.value !== "number") return;
    const quality = statusQuality(tag.status, plant.edges.get(tag.edge)?.simulated);
    if (row.time_ns.length && tag.time_ns <= row.time_ns.at(-1)) return;
    row.time_ns.push(tag.time_ns);
    for (const column of ["mean", "min", "max", "first", "last"]) row[column].push(quality === "bad" ? null : tag.value);
    row.n.push(quality === "bad" ? 0 : 1);
    row.n_bad.push(quality === "bad" ? 1 : 0);
    row.n_uncertain.push(quality === "uncertain" ? 1 : 0);
    row.worst_status.push(tag.status);
    this.#shape();
  }

  #shape() {
    const row = this.#row;
    const times = row.time_ns.map((ns) => ns / 1e9);
    const steps = [];
    for (let i = 1; i < times.length; i += 1) steps.push(times[i] - times[i - 1]);
    steps.sort((a, b) => a - b);
    const step = steps.length ? steps[steps.length >> 1] : 1;
    const expected = this.tag?.report?.expected_s ?? 0;
    const most = this.isText || !expected ? Infinity : 3 * Math.max(step, expected) + 0.001;
    const x = [];
    const mean = [];
    const low = [];
    const high = [];
    this.#gaps = [];
    this.#strips = [];
    times.forEach((time, i) => {
      const before = i ? times[i - 1] : null;
      if (before !== null && time - before > most) {
        this.#gaps.push([before, time]);
        x.push((before + time) / 2);
        mean.push(null);
        low.push(null);
        high.push(null);
      }
      x.push(time);
      mean.push(row.mean[i] ?? null);
      low.push(row.min[i] ?? null);
      high.push(row.max[i] ?? null);
      if (row.n_bad[i] || row.n_uncertain[i]) {
        const end = Math.min(times[i + 1] ?? time + step, time + 1.5 * step);
        const kind = row.n_bad[i] ? "bad" : "uncertain";
        const previous = this.#strips.at(-1);
        if (previous && previous.kind === kind && time - previous.end < step * 0.6) previous.end = end;
        else this.#strips.push({ from: time, end, kind });
      }
    });
    this.single = row.level === "raw" && row.n.every((n) => n <= 1);
    this.#columns = this.single ? [x, mean, mean.map(() => null), mean.map(() => null)] : [x, mean, low, high];
    if (this.isText) this.#columns = [x, x.map(() => null), x.map(() => null), x.map(() => null)];
  }

  draw() {
    const tag = this.tag;
    text(this.name, tag ? tagTitle(tag) : this.key);
    text(this.code, tag ? tag.name : "");
    const nothing = this.#row && !this.#row.time_ns.length;
    text(this.words, this.error || (!this.#row ? t("loading") : nothing ? t("trends.noValues") : ""));
    text(this.level, this.#row ? t(`level.${this.#row.level === "raw" && !this.single && !this.isText ? "grouped" : this.#row.level}`) : "");
    this.readout(null);
    const width = this.host.clientWidth;
    const height = this.host.clientHeight;
    if (!width || !height) return;
    if (!this.#chart) this.#make(width, height);
    if (this.#width !== `${width}x${height}`) {
      this.#width = `${width}x${height}`;
      this.#chart.setSize({ width, height });
    }
    const { from, to } = this.act.view();
    this.#chart.setData(this.#columns, false);
    this.#chart.setScale("x", { min: from, max: to });
  }

  #make(width, height) {
    const stroke = () => color("trace");
    const ink = () => color("quiet");
    const grid = { stroke: () => color("grid"), width: 1 };
    this.#width = `${width}x${height}`;
    this.#chart = new uPlot({
      width, height,
      padding: [rem(0.5), rem(1.8), this.last ? 0 : rem(0.4), 0],
      legend: { show: false },
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      cursor: {
        sync: { key: CURSORS.key, setSeries: false, filters: { pub: (type) => type !== "mousedown" && type !== "mouseup" && type !== "dblclick" } },
        drag: { x: true, y: false, setScale: false, dist: 6 },
        bind: { dblclick: () => () => { this.act.out(); return null; } },
        points: { show: !this.isText, size: rem(0.45) },
      },
      scales: { x: { time: true, range: (_u, min, max) => [min, max] }, y: { range: (_u, min, max) => this.#vertical(min, max) } },
      axes: [
        { show: true, stroke: ink, font: font(), grid, ticks: { show: this.last, stroke: () => color("grid"), width: 1, size: 4 }, size: this.last ? rem(2.5) : 0, values: this.last ? axisTimes : (_u, s) => s.map(() => ""), space: rem(5.5) },
        { show: true, stroke: ink, font: font(), grid: { ...grid, show: !this.isText }, ticks: { show: false }, size: rem(4), values: (_u, splits) => (this.isText ? splits.map(() => "") : this.#ticks(splits)), space: rem(2) },
      ],
      series: [{}, { stroke, width: 1.6, spanGaps: false, points: { show: (u, _s, a, b) => b - a < u.bbox.width / 12 / devicePixelRatio, size: rem(0.3), fill: stroke, stroke } },
        { stroke: "transparent", width: 0, points: { show: false } }, { stroke: "transparent", width: 0, points: { show: false } }],
      bands: [{ series: [3, 2], fill: () => color("spread") }],
      hooks: {
        drawClear: [(u) => { this.#words = under(u, this.#scene()); }],
        draw: [(u) => { this.#hits = over(u, this.#scene(), this.#words); }],
        setSelect: [(u) => this.#chosen(u)],
        setCursor: [(u) => this.#pointed(u)],
      },
    }, this.#columns, this.host);
    this.#press(this.#chart.over);
  }

  #scene() {
    const { tag, isText, modes, phases, alarms } = this;
    return { tag, isText, modes, phases, alarms, row: this.#row, gaps: this.#gaps, strips: this.#strips, to: this.act.view().to };
  }

  /** A press on a mark, or on the plot beside them; a drag is neither. */
  #press(over) {
    let began = null;
    over.addEventListener("mousedown", (event) => { began = event.clientX; });
    over.addEventListener("click", (event) => {
      if (began !== null && Math.abs(event.clientX - began) > 5) return;
      const row = this.#hit(event.offsetX, event.offsetY);
      if (row) this.act.mark?.(row);
      else this.act.point?.(this.#chart.posToVal(event.offsetX, "x"));
    });
    over.addEventListener("mousemove", (event) => {
      const row = this.act.mark ? this.#hit(event.offsetX, event.offsetY) : null;
      over.classList.toggle("on-mark", Boolean(row));
      attribute(over, "title", row ? alarmTitle(row) : null);
    });
  }

  /** The alarm whose mark is at a place of the plot, the one drawn last where several are. */
  #hit(x, y) {
    return this.#hits.findLast((hit) => x >= hit.left && x <= hit.right && y <= hit.bottom)?.row ?? null;
  }

  #ticks(splits) {
    const step = splits.length > 1 ? Math.abs(splits[1] - splits[0]) : 1;
    let digits = 0;
    while (digits < 6 && Math.abs(step * 10 ** digits - Math.round(step * 10 ** digits)) > 1e-6) digits += 1;
    return splits.map((v) => (v === null ? "" : number(v, digits)));
  }

  /** The values with room around them, and those limits that are near enough not to press them flat. */
  #vertical(min, max) {
    if (this.isText || min === null || max === null) return [0, 1];
    let low = min;
    let high = max;
    const least = 4 * 10 ** -(this.tag?.decimals ?? 2);
    const reach = Math.max(high - low, least) * 4;
    for (const { limit } of this.tag?.limits ?? []) {
      if (typeof limit !== "number") continue;
      if (limit > max && limit - max < reach) high = Math.max(high, limit);
      if (limit < min && min - limit < reach) low = Math.min(low, limit);
    }
    const room = Math.max((high - low) * 0.08, least / 2, Math.abs(high) * 1e-9);
    return [low - room, high + room];
  }

  #chosen(u) {
    const { left, width } = u.select;
    if (width < 4) return;
    const from = u.posToVal(left, "x");
    const to = u.posToVal(left + width, "x");
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.act.zoom(from, to);
  }

  #pointed(u) {
    const { left, idx } = u.cursor;
    this.readout(left === null || left < 0 ? null : idx, left >= 0 ? u.posToVal(left, "x") : null);
    if (u.cursor.event || left < 0) this.act.over(left >= 0 ? u.posToVal(left, "x") : null);
  }

  /** Value under the cursor, else the newest one. */
  readout(index, at = null) {
    const tag = this.tag;
    if (!tag) return;
    let shown = null;
    if (index !== null && index !== undefined) {
      if (this.isText) {
        const i = this.#row?.time_ns.findLastIndex((ns) => ns / 1e9 <= at) ?? -1;
        shown = i >= 0 ? this.#row.text[i] : "—";
      } else shown = `${number(this.#columns[1][index], tag.decimals)} ${unit(tag.unit)}`;
    } else {
      const { quality } = plant.quality(tag);
      shown = tag.kind === "text" ? tag.value ?? "—" : `${number(quality === "bad" ? null : tag.value, tag.decimals)} ${unit(tag.unit)}`;
      attribute(this.value, "data-quality", quality);
    }
    text(this.value, shown.trim());
    const lows = this.#row ? this.#row.min.filter((v) => v !== null) : [];
    const highs = this.#row ? this.#row.max.filter((v) => v !== null) : [];
    text(this.extent, lows.length && !this.isText ? `${number(lows.reduce((a, b) => Math.min(a, b)), tag.decimals)} … ${number(highs.reduce((a, b) => Math.max(a, b)), tag.decimals)}` : "");
  }

  /** The picture of this pane, for an export. */
  get canvas() {
    return this.#chart?.root.querySelector("canvas") ?? null;
  }

  reset() {
    this.#chart?.destroy();
    this.#chart = null;
  }

  close() {
    this.reset();
    this.node.remove();
  }
}

/** All panes on one picture, with the names, the span and the zone written on it. */
export function picture(panes, title) {
  const ratio = devicePixelRatio || 1;
  const shown = panes.filter((pane) => pane.canvas);
  if (!shown.length) return null;
  const head = 26 * ratio;
  const width = Math.max(...shown.map((pane) => pane.canvas.width));
  const height = head + shown.reduce((sum, pane) => sum + pane.canvas.height + head, 0);
  const sheet = h("canvas", { width, height });
  const pen = sheet.getContext("2d");
  pen.fillStyle = color("panel");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = color("ink");
  pen.textBaseline = "middle";
  pen.font = `${13 * ratio}px ${FAMILY}`;
  pen.fillText(title, 8 * ratio, head / 2);
  let y = head;
  for (const pane of shown) {
    pen.fillText(`${pane.name.textContent}  ${pane.key}  ${unit(pane.tag?.unit)}`, 8 * ratio, y + head / 2);
    pen.drawImage(pane.canvas, 0, y + head);
    y += pane.canvas.height + head;
  }
  return sheet;
}

export function spanTitle(from, to) {
  return `${day(from * 1000)} ${clock(from * 1000)} – ${day(to * 1000)} ${clock(to * 1000)}`;
}

export { MS };
