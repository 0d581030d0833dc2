// Panes under one another on one time axis, their values, and the alarms of the span in them.

import { Pane } from "./chart.js";
import { happenings, series, textSeries } from "./happenings.js";
import { plant } from "./plant.js";
import { t } from "./i18n.js";

export class Panes {
  list = [];
  /** Alarms of the span, newest first. */
  history = [];
  /** The span in s that was loaded; the end of a live one is open. */
  span = { from: -Infinity, to: Infinity };
  #turn = 0;
  #told = (event) => this.#changed(event.detail);

  /** `points` of each pane; `changed()` is told when other alarms are known. */
  constructor(points, changed = () => {}) {
    this.points = points;
    this.told = changed;
    plant.addEventListener("alarms", this.#told);
  }

  /** Begin anew with these tags; `act(key)` is what their panes ask and tell. */
  build(keys, act) {
    this.#clear();
    this.list = keys.map((key) => new Pane(key, act(key)));
    if (this.list.length) this.list.at(-1).last = true;
    return this.list.map((pane) => pane.node);
  }

  /** Ask for the values and what happened in [from, to) seconds, of a live view up to now; an answer that another question overtook is dropped. */
  async load({ from, to, live = false }) {
    this.span = { from, to: live ? Infinity : to };
    const mine = this.#turn += 1;
    const still = () => mine === this.#turn;
    const current = this.list;
    await Promise.all([
      ...current.map(async (pane) => {
        if (!pane.tag) {
          pane.fail(t("trends.unknownTag", { tag: pane.key }));
          return;
        }
        try {
          const row = await (pane.isText ? textSeries : series)(pane.key, from, to, this.points);
          if (still()) pane.show(row);
        } catch (error) {
          if (still()) pane.fail(error.message);
        }
      }),
      happenings(current, { from, to }, this.points, still).then((found) => {
        if (found) this.history = found;
      }, () => {
        // Marks are an addition; the panes themselves tell when the gateway does not answer.
        if (still()) this.history = [];
      }),
    ]);
    if (still()) this.#mark();
  }

  /** When the first of the values that were loaded is, in s; long ago before there are any. */
  get begins() {
    const first = this.list.map((pane) => pane.begins).filter((s) => s !== null);
    return first.length ? Math.min(...first) : -Infinity;
  }

  /** Draw with the newest values on the end. */
  draw() {
    for (const pane of this.list) {
      if (plant.live) pane.extend();
      pane.draw();
    }
  }

  recolor() {
    for (const pane of this.list) {
      pane.reset();
      pane.draw();
    }
  }

  close() {
    plant.removeEventListener("alarms", this.#told);
    this.#clear();
  }

  #clear() {
    this.#turn += 1;
    for (const pane of this.list) pane.close();
    this.list = [];
  }

  #mark() {
    for (const pane of this.list) {
      pane.alarms = this.history.filter((row) => concerns(row, pane.key));
      pane.draw();
    }
    this.told();
  }

  #changed(rows) {
    const place = new Map(this.history.map((row, i) => [row.occurrence, i]));
    for (const row of rows) {
      if (place.has(row.occurrence)) this.history[place.get(row.occurrence)] = row;
      else if (stood(row, this.span)) this.history.push(row);
    }
    this.history.sort((a, b) => b.raised_ns - a.raised_ns);
    this.#mark();
  }
}

const LEADING = 3;

/** Whether an alarm is about a tag: on itself, on the output of a model beside it, or on a finding in which it leads. */
export function concerns(row, key) {
  const tag = plant.tags.get(key);
  const name = tag?.name ?? key.slice(key.indexOf(":") + 1);
  if (!key.startsWith(`${row.edge}:`) || !row.tag) return false;
  if (row.tag === name) return true;
  const judged = plant.tags.get(`${row.edge}:${row.tag}`)?.derived_from ?? [];
  if (!judged.length) return false;
  if (tag?.derived_from.length) return stem(row.tag) === stem(name) || judged.includes(name);
  const shares = Object.entries(row.contributions ?? {}).filter(([one]) => plant.tags.has(`${row.edge}:${one}`)).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  return (judged.length === 1 && judged[0] === name) || shares.slice(0, LEADING).some(([one]) => one === name);
}

/** Whether an alarm stood at some time of a span in s. */
export function stood(row, { from, to }) {
  return row.raised_ns < to * 1e9 && (row.state !== "NORM" || row.last_ns >= from * 1e9);
}

/** The part of a model's output that all its outputs share: `press1/force.auto` of `press1/force.auto.score`. */
export function stem(name) {
  return name.slice(0, Math.max(0, name.lastIndexOf(".")));
}
