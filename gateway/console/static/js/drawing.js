// What charts of several pages draw with: the letter, a pattern that is no colour, a line across, words on a ground.

import { color, rem } from "./dom.js";
import { parts } from "./format.js";

export const FAMILY = "system-ui, 'Noto Sans', 'Noto Sans CJK SC', 'Microsoft YaHei', sans-serif";

/** The letter of a chart; `ratio` is that of the canvas where it is written on one directly. */
export function font(size = 0.75, ratio = 1) {
  return `${Math.round(rem(size)) * ratio}px ${FAMILY}`;
}

/** Labels of a time axis of uPlot: the day at midnight and where the steps are days, else the time. */
export function timeLabels(_u, splits, _axis, _space, step) {
  return splits.map((s) => {
    const p = parts(s * 1000);
    return step >= 86400 || (p.hour === "00" && p.minute === "00") ? `${p.month}-${p.day}` : `${p.hour}:${p.minute}`;
  });
}

/** Slanted lines over a rectangle. */
export function hatch(pen, left, top, right, bottom, ratio, ink, gap, width) {
  pen.save();
  pen.beginPath();
  pen.rect(left, top, right - left, bottom - top);
  pen.clip();
  pen.strokeStyle = ink;
  pen.lineWidth = width * ratio;
  pen.beginPath();
  const step = gap * ratio;
  const start = Math.floor((left - (bottom - top)) / step) * step;
  for (let at = start; at < right; at += step) {
    pen.moveTo(at, bottom);
    pen.lineTo(at + (bottom - top), top);
  }
  pen.stroke();
  pen.restore();
}

/** A dashed line across the plot at a value. */
export function level(u, value) {
  const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
  u.ctx.save();
  u.ctx.strokeStyle = color("ink");
  u.ctx.setLineDash([6, 4]);
  u.ctx.beginPath();
  u.ctx.moveTo(u.bbox.left, y);
  u.ctx.lineTo(u.bbox.left + u.bbox.width, y);
  u.ctx.stroke();
  u.ctx.restore();
}

/** A few words on the plot, on a ground of their own so that lines do not run through them. */
export function label(pen, words, x, middle, wide, ratio) {
  const tall = rem(0.95) * ratio;
  pen.font = font(0.69, ratio);
  pen.fillStyle = color("panel");
  pen.globalAlpha = 0.85;
  pen.fillRect(x - 2 * ratio, middle - tall / 2, wide - 3 * ratio, tall);
  pen.globalAlpha = 1;
  pen.fillStyle = color("quiet");
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  pen.fillText(words, x, middle);
}
