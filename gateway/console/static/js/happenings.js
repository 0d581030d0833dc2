// What happened to the units of some panes over a span: batches, phases, modes, and the alarms of their tags.

import { unitPath } from "./mode.js";
import { get, MS, plant } from "./plant.js";

const PAST_S = 30 * 86_400;
const ROLES = ["batch", "phase", "mode"];

const ns = (s) => `${Math.round(s * 1000)}000000`;

export function series(key, from, to, points) {
  return get(`api/v1/series?tag=${encodeURIComponent(key)}&from=${ns(from)}&to=${ns(to)}&points=${points}`);
}

/** A text holds until the next one: the last before the span is where the span begins. */
export async function textSeries(key, from, to, points) {
  const begin = Math.round(from * 1000) * MS;
  const [before, row] = await Promise.all([series(key, Math.max(0, from - PAST_S), from, 1), series(key, from, to, points)]);
  if (before.text.length && row.time_ns[0] !== begin) {
    row.time_ns.unshift(begin);
    row.text.unshift(before.text.at(-1));
    const held = { n: 1, mean: null, min: null, max: null, first: null, last: null, n_bad: 0, n_uncertain: 0, worst_status: before.worst_status.at(-1) };
    for (const [column, value] of Object.entries(held)) row[column].unshift(value);
  }
  return row;
}

/** Puts phases and modes into the panes; resolves to the alarms of the span, newest first. */
export async function happenings(panes, { from, to }, points, still) {
  const units = new Set(panes.map((pane) => pane.tag?.unitName).filter(Boolean));
  const context = plant.order.filter((tag) => units.has(tag.unitName) && ROLES.includes(tag.role) && tag.kind === "text").slice(0, 12);
  const [past, told_, ...changes] = await Promise.all([
    get(`api/v1/alarms?state=history&limit=2000&to=${ns(to)}`), get(`api/v1/modes?from=${ns(from)}&to=${ns(to)}`), ...context.map((tag) => textSeries(tag.key, from, to, points)),
  ]);
  if (!still()) return null;
  const told = new Set();
  for (const pane of panes) {
    const name = pane.tag?.unitName;
    pane.phases = [];
    pane.modes = [];
    context.forEach((tag, i) => {
      if (tag.unitName !== name || tag.key === pane.key || !changes[i]) return;
      if (tag.role === "mode") pane.modes = bands(changes[i], to);
      else mark(pane, tag, changes[i], !told.has(name));
    });
    // What the edge says holds: a person may have set another mode than the tag says.
    const spans = pane.tag ? modeSpans(told_.modes, pane.tag, from, to) : [];
    if (spans.length) pane.modes = spans.filter((span) => span.words.toLowerCase() !== "production");
    pane.phases.sort((a, b) => a.time - b.time);
    told.add(name);
  }
  return past.alarms;
}

function modeSpans(rows, tag, from, to) {
  const mine = rows.filter((row) => row.edge === tag.edge);
  for (let path = unitPath(tag); path; path = path.slice(0, Math.max(0, path.lastIndexOf("/")))) {
    const found = mine.filter((row) => row.unit === path);
    if (found.length) return found.map((row) => ({ from: Math.max(from, row.from_ns / 1e9), to: row.to_ns === null ? to : Math.min(to, row.to_ns / 1e9), words: row.mode }));
  }
  return [];
}

function mark(pane, tag, row, first) {
  row.time_ns.forEach((time_ns, k) => {
    if (!k || row.text[k] === row.text[k - 1]) return;
    const time = time_ns / 1e9;
    const same = pane.phases.find((phase) => Math.abs(phase.time - time) < 1);
    // Batch and phase that change together are one line: "B0008 start-up".
    if (same) same.words = tag.role === "batch" ? `${row.text[k]} ${same.words}` : `${same.words} ${row.text[k]}`;
    else pane.phases.push({ time, words: row.text[k], first });
  });
}

/** Spans in which a unit did not produce: what is measured then is not judged as in production. */
function bands(row, to) {
  const found = [];
  row.time_ns.forEach((time_ns, k) => {
    if (k && row.text[k] === row.text[k - 1]) return;
    if (found.length) found.at(-1).to ??= time_ns / 1e9;
    if (row.text[k] && row.text[k].toLowerCase() !== "production") found.push({ from: time_ns / 1e9, to: null, words: row.text[k] });
  });
  for (const band of found) band.to ??= to;
  return found;
}
