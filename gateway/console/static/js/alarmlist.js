// Which alarms a list shows and in what order: one after the other, or by trip with the first-out on top.

import { compare, laid, plant, unacknowledged } from "./plant.js";
import { alarmTitle, alarmUnit } from "./marks.js";
import { local } from "./i18n.js";

export const VIEWS = ["standing", "shelved", "designed", "service", "history"];
const OVERLAY = { shelved: "shelved", designed: "designed", service: "out_of_service" };
export const FLOOD = "edge/flood";

/** The alarms that say that there is a flood. */
export function floods() {
  return [...plant.alarms.values()].filter((row) => row.alarm === FLOOD && row.met !== false && row.state !== "RTNUN");
}

/** Standing alarms of a view: those that call, or those under one kind of suppression. */
export function ofView(view) {
  const overlay = OVERLAY[view];
  const all = [...plant.alarms.values()];
  return overlay ? all.filter((row) => laid(row, overlay)) : all.filter((row) => !row.suppressions?.length);
}

export function matches(row, filter) {
  if (filter.unit && alarmUnit(row) !== filter.unit && row.plant_unit !== filter.unit) return false;
  if (filter.priority && String(row.priority) !== filter.priority) return false;
  if (filter.state && row.state !== filter.state) return false;
  const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return true;
  const people = row.events.map((e) => e.user).join(" ");
  const all = `${row.alarm} ${alarmTitle(row)} ${row.explanation} ${row.edge} ${row.group} ${people} ${local(row.cause)} ${local(row.response)} ${local(row.consequence)}`.toLowerCase();
  return words.every((word) => all.includes(word));
}

/** Entries in order: {id} of an alarm, or {name, rows, unfolded} above the alarms of one trip; of a folded trip only its first alarm and the worst follow. */
export function inOrder(rows, { view, grouped, unfolded = new Set() }) {
  if (view === "history") return rows.map((row) => ({ id: row.occurrence }));
  if (view !== "standing") {
    const end = (row) => row.suppressions.find((one) => one.overlay === OVERLAY[view])?.until_ns ?? Infinity;
    return [...rows].sort((a, b) => end(a) - end(b) || compare(a, b)).map((row) => ({ id: row.occurrence }));
  }
  if (!grouped) return [...rows].sort(compare).map((row) => ({ id: row.occurrence }));
  const trips = new Map();
  for (const row of rows) {
    const name = row.group || alarmUnit(row) || row.edge;
    if (!trips.has(name)) trips.set(name, []);
    trips.get(name).push(row);
  }
  const first = (a, b) => b.first_out - a.first_out || a.raised_ns - b.raised_ns || a.priority - b.priority;
  return [...trips].map(([name, members]) => ({ name, rows: members.sort(first), unfolded: unfolded.has(name) }))
    .sort((a, b) => b.rows[0].first_out - a.rows[0].first_out || worst(a.rows) - worst(b.rows) || a.rows[0].raised_ns - b.rows[0].raised_ns)
    .flatMap((trip) => {
      const seen = trip.unfolded ? trip.rows : leading(trip.rows);
      return [{ ...trip, hidden: trip.rows.length - seen.length }, ...seen.map((row) => ({ id: row.occurrence, trip: trip.name }))];
    });
}

/** What is seen of a folded trip: the first-out, and the alarm that goes before all others where that is worse or there is no first-out. */
function leading(rows) {
  const top = [...rows].sort(compare)[0];
  const [first] = rows;
  if (!first.first_out) return [top];
  return top.priority < first.priority || (unacknowledged(top) && !unacknowledged(first)) ? [first, top] : [first];
}

function worst(rows) {
  return Math.min(...rows.map((row) => row.priority + (row.advisory ? 4 : 0)));
}
