// What is painted on a pane of a trend beside its line: gaps, modes and limits under it, quality, phases and alarms over it.
//
// A scene is { tag, row, isText, gaps, strips, modes, phases, alarms, to }, times in s; each function gives back what the next needs.

import { color, rem } from "./dom.js";
import { font, hatch, label } from "./drawing.js";
import { number } from "./format.js";
import { has, t } from "./i18n.js";
import { shapePath } from "./marks.js";
import { plant } from "./plant.js";

const shapes = new Map();

function box(u) {
  return { left: u.bbox.left, top: u.bbox.top, right: u.bbox.left + u.bbox.width, bottom: u.bbox.top + u.bbox.height, ratio: u.pxRatio ?? devicePixelRatio };
}

/** What lies under the line; returns the words of the limits, which `over` writes. */
export function under(u, scene) {
  const plot = box(u);
  const { left, top, right, bottom, ratio } = plot;
  const pen = u.ctx;
  pen.save();
  pen.beginPath();
  pen.rect(left, top, right - left, bottom - top);
  pen.clip();
  const x = (s) => u.valToPos(s, "x", true);
  for (const band of scene.modes) mode(pen, band, x, plot);
  for (const [a, b] of scene.gaps) hatch(pen, x(a), top, x(b), bottom, ratio, color("outline"), 8, 0.5);
  let words = [];
  if (scene.isText) blocks(pen, scene, x, plot);
  else words = limits(u, scene.tag, plot);
  pen.restore();
  return words;
}

/** The unit was not producing: a ground of its own, and the mode in words. */
function mode(pen, { from, to, words }, x, { left, top, right, bottom, ratio }) {
  const a = Math.max(left, x(from));
  const b = Math.min(right, x(to));
  if (b <= a) return;
  pen.fillStyle = color("band");
  pen.globalAlpha = 0.6;
  pen.fillRect(a, top, b - a, bottom - top);
  pen.globalAlpha = 1;
  pen.font = font(0.69, ratio);
  if (pen.measureText(words).width + 8 * ratio > b - a) return;
  pen.fillStyle = color("quiet");
  pen.textAlign = "left";
  pen.textBaseline = "top";
  pen.fillText(has(`mode.is.${words}`) ? t(`mode.is.${words}`) : words, a + 4 * ratio, top + 3 * ratio);
}

function limits(u, tag, { left, top, right, bottom, ratio }) {
  const pen = u.ctx;
  const words = [];
  for (const { side, limit, priority } of tag?.limits ?? []) {
    if (typeof limit !== "number") continue;
    const y = Math.round(u.valToPos(limit, "y", true));
    if (y < top || y > bottom) continue;
    pen.strokeStyle = color(`p${priority}-line`);
    pen.lineWidth = 1.2 * ratio;
    pen.setLineDash([6 * ratio, 4 * ratio]);
    pen.beginPath();
    pen.moveTo(left, y);
    pen.lineTo(right, y);
    pen.stroke();
    pen.setLineDash([]);
    pen.font = font(0.69, ratio);
    const said = `${t(`alarm.${side}`)} ${number(limit, tag.decimals)}`;
    const tall = rem(0.95) * ratio;
    // Beside the line on its quiet side, or on the other where the pane ends.
    const above = side === "high" ? y - tall > top : y + tall > bottom;
    words.push({ words: said, x: left + 4 * ratio, y: above ? y - tall / 2 : y + tall / 2, wide: pen.measureText(said).width + 6 * ratio });
  }
  return words;
}

/** Texts as blocks that last until the next one. */
function blocks(pen, { row, to }, x, { left, top, right, bottom, ratio }) {
  if (!row) return;
  pen.font = font(0.75, ratio);
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  const runs = [];
  row.time_ns.forEach((ns, i) => {
    const value = row.text[i] ?? "";
    if (runs.at(-1)?.value === value) return;
    runs.push({ value, from: ns / 1e9 });
  });
  runs.forEach((run, i) => {
    const a = Math.max(left, x(run.from));
    const b = Math.min(right, x(runs[i + 1]?.from ?? Math.min(to, plant.now() / 1000)));
    if (b <= a) return;
    pen.fillStyle = color(i % 2 ? "band" : "spread");
    pen.fillRect(a, top, b - a, bottom - top);
    pen.strokeStyle = color("outline");
    pen.strokeRect(a, top, b - a, bottom - top);
    pen.save();
    pen.beginPath();
    pen.rect(a, top, b - a - 4 * ratio, bottom - top);
    pen.clip();
    pen.fillStyle = color("ink");
    pen.fillText(run.value, a + 6 * ratio, (top + bottom) / 2);
    pen.restore();
  });
}

/** What lies over the line, the words of the limits among it; returns where the marks of alarms are, in CSS pixels of the plot. */
export function over(u, scene, words) {
  const plot = box(u);
  const { left, top, right, bottom, ratio } = plot;
  const pen = u.ctx;
  const x = (s) => u.valToPos(s, "x", true);
  pen.save();
  pen.beginPath();
  pen.rect(left, top - 8 * ratio, right - left, bottom - top + 16 * ratio);
  pen.clip();
  strips(pen, scene.strips, x, plot);
  phases(pen, scene.phases, words, x, plot);
  for (const { words: said, x: start, y, wide } of words) label(pen, said, start, y, wide, ratio);
  const hits = alarms(pen, scene, x, plot);
  pen.restore();
  return hits;
}

/** Values of bad or uncertain quality: a hatched strip at the foot. */
function strips(pen, found, x, { left, right, bottom, ratio }) {
  for (const { kind, from, end } of found) {
    const a = x(from);
    const b = Math.max(a + 3 * ratio, x(end));
    if (b < left || a > right) continue;
    const height = 7 * ratio;
    pen.fillStyle = color("panel");
    pen.fillRect(a, bottom - height, b - a, height);
    hatch(pen, a, bottom - height, b, bottom, ratio, color(kind === "bad" ? "ink" : "quiet"), kind === "bad" ? 4 : 6, kind === "bad" ? 1.6 : 1);
  }
}

/** Where batches and phases begin; a name that would run into its neighbour is left out, the line stays. */
function phases(pen, begun, words, x, { left, top, right, bottom, ratio }) {
  // Names begin after a limit's words that stand in their line.
  const line = bottom - rem(0.95) * ratio;
  let written = Math.max(left, ...words.filter((l) => Math.abs(l.y - line) < rem(1) * ratio).map((l) => l.x + l.wide));
  for (const { time, words: name, first } of begun) {
    const at = Math.round(x(time));
    if (at < left || at > right) continue;
    pen.strokeStyle = color("outline");
    pen.lineWidth = ratio;
    pen.setLineDash([2 * ratio, 3 * ratio]);
    pen.beginPath();
    pen.moveTo(at, top);
    pen.lineTo(at, bottom);
    pen.stroke();
    pen.setLineDash([]);
    pen.font = font(0.69, ratio);
    const wide = pen.measureText(name).width + 8 * ratio;
    if (!first || at < written || at + wide > right) continue;
    written = at + wide;
    label(pen, name, at + 4 * ratio, line, wide, ratio);
  }
}

function alarms(pen, { alarms: found, to }, x, { left, top, right, ratio }) {
  const hits = [];
  for (const row of found) {
    const ended = row.state === "NORM" || row.state === "RTNUN" ? row.last_ns / 1e9 : Math.min(to, plant.now() / 1000);
    const a = x(row.raised_ns / 1e9);
    const b = Math.max(a + 2 * ratio, x(ended));
    if (b < left || a > right) continue;
    pen.fillStyle = color(`p${row.priority}`);
    pen.fillRect(Math.max(left, a), top, Math.min(right, b) - Math.max(left, a), 3 * ratio);
    const size = 13 * ratio;
    // A little more than is drawn, so that a finger meets it.
    hits.push({ row, left: (Math.max(left, a) - left - size) / ratio, right: (Math.min(right, b) - left + size) / ratio, bottom: (a < left ? 8 * ratio : size + 8 * ratio) / ratio });
    if (a < left) continue;
    pen.save();
    pen.translate(Math.min(right - size / 2, Math.max(left + size / 2, a)) - size / 2, top + 3 * ratio);
    pen.scale(size / 20, size / 20);
    if (!shapes.has(row.priority)) shapes.set(row.priority, new Path2D(shapePath(row.priority)));
    pen.fill(shapes.get(row.priority));
    pen.strokeStyle = color("mark-edge");
    pen.lineWidth = 1.5;
    pen.stroke(shapes.get(row.priority));
    pen.restore();
  }
  return hits;
}
