// One line of a list of alarms, and the line above the alarms of one trip.

import { attribute, h, text } from "./dom.js";
import { shortStamp, span, stamp, utc } from "./format.js";
import { local, t } from "./i18n.js";
import { waiting, waitingWords } from "./actions.js";
import { alarmPlace, alarmTrend, alarmValue, mark, setMark, setTitle, stateWord } from "./marks.js";
import { covered, MS, plant, unacknowledged } from "./plant.js";
import { modeWord } from "./mode.js";
import { said } from "./said.js";

/** How long the alarm has lasted, or lasted. */
export function lasting(row) {
  const end = row.state === "NORM" || row.state === "RTNUN" ? row.last_ns / MS : plant.now();
  return span((end - row.raised_ns / MS) / 1000);
}

/** Of what lies over an alarm: until when or under which permit, and what is left of it. */
export function suppressionWords(one) {
  if (one.overlay === "shelved" && one.until_ns !== null) {
    const left = (one.until_ns / MS - plant.now()) / 1000;
    return t("alarm.left", { left: span(left), time: shortStamp(one.until_ns / MS, plant.now()) }) + (one.one_shot ? ` · ${t("alarm.oneShot")}` : "");
  }
  return one.permit ? t("alarm.permit", { permit: one.permit }) : t("alarm.untilBack");
}

export function people(one) {
  return [one.user, one.second_user].filter(Boolean).join(" + ");
}

/** `select(id, on)`, `open(id)` and `fold(name)` are told what was done to the line. */
export function makeRow({ select, open, fold }) {
  const row = {};
  row.check = h("input", { type: "checkbox", "aria-label": t("select.one"), onclick: (event) => event.stopPropagation(), onchange: () => select(row.id, row.check.checked) });
  row.mark = mark(null);
  for (const name of ["what", "first", "why", "where", "value", "since", "last", "state", "group"]) row[name] = h("span", null);
  row.trend = h("a", { class: "c-trend", title: t("alarm.trend"), "aria-label": t("alarm.trend"), onclick: (event) => event.stopPropagation() }, "∿");
  row.what.className = "title";
  row.why.className = "why";
  row.first.className = "first-out";
  row.group.className = "group-name";
  row.fold = h("button", { type: "button", class: "fold", hidden: true, onclick: (event) => { event.stopPropagation(); fold(node.dataset.group); } });
  const node = h("div", { class: "alarm-row", role: "row", onclick: () => (row.id ? open(row.id) : fold(node.dataset.group)) },
    h("label", { class: "c-check", onclick: (event) => event.stopPropagation() }, row.check), h("span", { class: "c-mark" }, row.mark),
    h("span", { class: "c-what" }, h("span", { class: "line" }, row.first, row.what), row.why, row.group, row.fold), h("span", { class: "c-where" }, row.where), h("span", { class: "c-value" }, row.value),
    h("span", { class: "c-since" }, row.since), h("span", { class: "c-last" }, row.last), h("span", { class: "c-state" }, row.state), row.trend);
  node.parts = row;
  return node;
}

export function showGroup(node, { name, rows, unfolded, hidden }) {
  const p = node.parts;
  p.id = null;
  attribute(node, "data-group", name);
  attribute(node, "data-occurrence", null);
  attribute(node, "data-state", null);
  attribute(node, "aria-selected", null);
  const first = rows.find((row) => row.first_out);
  const open = rows.filter((row) => unacknowledged(row) && !row.advisory).length;
  text(p.group, [t("alarms.group", { name, n: rows.length }), open ? t("alarms.groupOpen", { n: open }) : "", first ? "" : t("alarms.noFirst")].filter(Boolean).join(" · "));
  p.fold.hidden = !unfolded && hidden === 0;
  text(p.fold, unfolded ? t("alarms.fold") : t("alarms.unfold", { n: hidden }));
  attribute(p.fold, "aria-expanded", String(unfolded));
}

export function showRow(node, row, { selected, current }) {
  const p = node.parts;
  p.id = row.occurrence;
  attribute(node, "data-group", null);
  text(p.group, "");
  p.fold.hidden = true;
  p.check.checked = selected;
  setMark(p.mark, row);
  setTitle(p.what, row);
  text(p.first, row.first_out ? t("alarm.first_out") : "");
  p.first.hidden = !row.first_out;
  const [one] = covered(row) ? row.suppressions : [];
  const reaction = local(row.response);
  text(p.why, one ? [people(one), one.reason].filter(Boolean).join(" · ") : [said(row.explanation), reaction && `▸ ${reaction}`].filter(Boolean).join("  "));
  attribute(p.why, "title", reaction || null);
  text(p.where, alarmPlace(row));
  text(p.value, alarmValue(row) || (covered(row) ? t(row.met ? "alarm.met" : "alarm.notMet") : ""));
  const raised = (one ? one.since_ns : row.raised_ns) / MS;
  text(p.since, shortStamp(raised, plant.now()));
  attribute(p.since, "title", `${stamp(raised)}\n${utc(raised)}`);
  text(p.last, one ? span((plant.now() - raised) / 1000) : lasting(row));
  const held = row.held && !one ? t("alarm.held", { mode: modeWord(row.held) }) : "";
  text(p.state, waiting(row) ? waitingWords(row) : held || (one ? suppressionWords(one) : row.state === "ACKED" && row.acked_by ? t("alarm.ackedShort", { user: row.acked_by }) : stateWord(row.state)));
  attribute(p.state, "title", held ? `${stateWord(row.state)}\n${t("alarm.heldWhy")}` : p.state.textContent);
  attribute(node, "data-held", row.held || null);
  attribute(p.trend, "href", alarmTrend(row));
  attribute(node, "data-occurrence", row.occurrence);
  attribute(node, "data-state", row.state);
  attribute(node, "aria-selected", selected || current);
}
