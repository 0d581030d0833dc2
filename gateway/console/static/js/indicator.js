// A value against its normal band, its limits and its last hour.

import { attribute, color, h, text } from "./dom.js";
import { number, span, stamp, unit, utc } from "./format.js";
import { t } from "./i18n.js";
import { mark, setMark, tagTitle } from "./marks.js";
import { get, MS, plant } from "./plant.js";

const HOUR_MS = 3_600_000;
const LEAST_MS = 300_000;
const POINTS = 120;

/** Scale of the moving indicator: the band in the middle where there is one, else the engineering range. */
export function scaleOf(tag) {
  const known = tag.limits.filter((l) => typeof l.limit === "number");
  const high = Math.min(...known.filter((l) => l.side === "high").map((l) => l.limit));
  const low = Math.max(...known.filter((l) => l.side === "low").map((l) => l.limit));
  const range = tag.range;
  let [from, to] = range ?? [NaN, NaN];
  if (Number.isFinite(high) && Number.isFinite(low) && high > low) {
    const more = (high - low) * 0.6;
    from = range ? Math.max(range[0], low - more) : low - more;
    to = range ? Math.min(range[1], high + more) : high + more;
  } else if (range && Number.isFinite(high) && high > range[0]) to = Math.min(range[1], range[0] + (high - range[0]) * 1.6);
  if (!(to > from)) return null;
  return { from, to, high: Number.isFinite(high) ? high : null, low: Number.isFinite(low) ? low : null };
}

export class Indicator {
  #spark = null;
  #points = [];
  #asked = -Infinity;
  #drawn = "";
  visible = true;

  constructor(tag, href) {
    this.key = tag.key;
    this.mark = mark(null);
    this.name = h("span", { class: "i-name" });
    this.code = h("span", { class: "i-code" });
    this.band = h("div", { class: "ai-band" });
    this.low = h("div", { class: "ai-limit" });
    this.high = h("div", { class: "ai-limit" });
    this.pointer = h("div", { class: "ai-pointer" });
    this.bar = h("div", { class: "ai", "aria-hidden": "true" }, this.band, this.low, this.high, this.pointer);
    this.value = h("span", { class: "i-value" });
    this.unit = h("span", { class: "i-unit" });
    this.age = h("span", { class: "i-age" });
    this.canvas = h("canvas", { class: "spark", "aria-hidden": "true" });
    this.node = h("a", { class: "indicator", href },
      this.mark, h("span", { class: "i-label" }, this.name, this.code), this.bar,
      h("span", { class: "i-number" }, this.value, this.unit, this.age), this.canvas);
    this.scale = scaleOf(tag);
    const place = (v) => `${(100 * (v - this.scale.from)) / (this.scale.to - this.scale.from)}%`;
    if (this.scale) {
      const { low, high, from, to } = this.scale;
      this.band.style.left = place(low ?? from);
      this.band.style.right = `${100 - parseFloat(place(high ?? to))}%`;
      this.low.hidden = low === null;
      this.high.hidden = high === null;
      if (low !== null) this.low.style.left = place(low);
      if (high !== null) this.high.style.left = place(high);
      if (low === null && high === null) this.band.hidden = true;
    } else this.bar.classList.add("unknown");
    text(this.name, tagTitle(tag));
    text(this.code, tag.name);
    attribute(this.code, "title", tag.key);
  }

  refresh() {
    const tag = plant.tags.get(this.key);
    if (!tag) return;
    const { quality, age } = plant.quality(tag);
    const alarm = tag.alarm;
    attribute(this.node, "data-quality", quality);
    // A value that has returned is normal again, though its alarm still waits for an acknowledge.
    attribute(this.node, "data-alarm", alarm && alarm.state !== "RTNUN" ? alarm.priority : null);
    setMark(this.mark, alarm);
    const numeric = tag.kind === "numeric";
    text(this.value, numeric ? (quality === "bad" ? "—" : number(tag.value, tag.decimals)) : tag.value ?? "—");
    text(this.unit, numeric ? unit(tag.unit) : "");
    text(this.age, quality === "good" ? "" : quality === "none" ? t("quality.none") : quality === "stale" && age !== null ? t("age", { age: span(age) }) : t(`quality.${quality}`));
    if (tag.time_ns !== null) attribute(this.node, "title", `${tag.key}\n${stamp(tag.time_ns / MS)}\n${utc(tag.time_ns / MS)}`);
    if (this.scale && numeric) {
      const usable = typeof tag.value === "number" && quality !== "bad";
      this.pointer.hidden = !usable;
      if (usable) {
        const share = (tag.value - this.scale.from) / (this.scale.to - this.scale.from);
        const left = `${100 * Math.min(1, Math.max(0, share))}%`;
        if (this.pointer.style.left !== left) this.pointer.style.left = left;
        attribute(this.pointer, "data-off", share < 0 || share > 1 ? "" : null);
      }
    }
    if (numeric) this.#trace(tag, quality);
  }

  async #trace(tag, quality) {
    const now = plant.now();
    if (plant.live && now - this.#asked > 120_000) {
      this.#asked = now;
      const from = Math.round(now - HOUR_MS);
      try {
        const row = await queued(() => get(`api/v1/series?tag=${encodeURIComponent(this.key)}&from=${from}000000&to=${Math.round(now)}000000&points=${POINTS}`));
        this.#points = row.time_ns.map((t_ns, i) => [t_ns / MS, row.mean[i]]);
      } catch {
        // No past to show is shown as none; the value itself says whether the tag lives.
        this.#points = [];
      }
      this.#drawn = "";
    }
    if (quality === "good" && typeof tag.value === "number") {
      const last = this.#points.at(-1);
      if (!last || tag.time_ns / MS - last[0] > Math.min(HOUR_MS, Math.max(LEAST_MS, now - this.#points[0][0])) / POINTS) this.#points.push([tag.time_ns / MS, tag.value]);
    }
    while (this.#points.length && this.#points[0][0] < now - HOUR_MS) this.#points.shift();
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const sight = `${this.#points.length} ${this.#points.at(-1)?.[0]} ${width}x${height} ${document.documentElement.dataset.theme}`;
    if (width && sight !== this.#drawn) {
      this.#drawn = sight;
      this.#draw(width, height, now);
    }
  }

  #draw(width, height, now) {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const values = this.#points.map((p) => p[1]).filter((v) => typeof v === "number");
    if (!values.length) return;
    let low = Math.min(...values);
    let high = Math.max(...values);
    // A quiet signal must look quiet: the scale never zooms into noise below a tenth of the band.
    const least = this.scale ? ((this.scale.high ?? this.scale.to) - (this.scale.low ?? this.scale.from)) * 0.2 : 0;
    const middle = (low + high) / 2;
    const half = Math.max((high - low) / 2, least / 2, Math.abs(middle) * 1e-6, 1e-12) * 1.15;
    low = middle - half;
    high = middle + half;
    // The last hour, or as much of it as there is: a line that has just begun shows its minutes.
    const shown = Math.min(HOUR_MS, Math.max(LEAST_MS, now - this.#points[0][0]));
    const gap = Math.max((HOUR_MS / POINTS) * 2.5, 20_000);
    const x = (time) => ((time - (now - shown)) / shown) * width;
    const y = (v) => height - 1.5 - ((v - low) / (high - low)) * (height - 3);
    for (const limit of [this.scale?.high, this.scale?.low]) {
      if (typeof limit !== "number" || limit < low || limit > high) continue;
      pen.strokeStyle = color("outline");
      pen.setLineDash([3, 3]);
      pen.beginPath();
      pen.moveTo(0, y(limit));
      pen.lineTo(width, y(limit));
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.strokeStyle = color("trace");
    pen.lineWidth = 1.2;
    pen.beginPath();
    let before = null;
    for (const [time, v] of this.#points) {
      if (typeof v !== "number") {
        before = null;
        continue;
      }
      if (before === null || time - before > gap) pen.moveTo(x(time), y(v));
      else pen.lineTo(x(time), y(v));
      before = time;
    }
    pen.stroke();
  }
}

// At most four questions about the past are under way at once, so that a large page never crowds out an acknowledge.
let busy = 0;
const line = [];

async function queued(ask) {
  if (busy >= 4) await new Promise((go) => line.push(go));
  busy += 1;
  try {
    return await ask();
  } finally {
    busy -= 1;
    line.shift()?.();
  }
}
