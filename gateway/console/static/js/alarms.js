// Alarms: standing and history, filtered, selected, acknowledged. What is being read does not move.

import { attribute, h, text } from "./dom.js";
import { plain, shortStamp, span, stamp, utc } from "./format.js";
import { t } from "./i18n.js";
import { acknowledge, waiting } from "./acknowledge.js";
import { closeAlarm, lasting, openAlarm } from "./detail.js";
import { alarmPlace, alarmTitle, alarmUnit, alarmValue, mark, setMark, setTitle, stateWord } from "./marks.js";
import { compare, get, MS, plant, unacknowledged } from "./plant.js";
import { note } from "./route.js";
import { Rows } from "./rows.js";
import { session } from "./session.js";

const HISTORY = 2000;

export function alarms(root, params) {
  let filter = read(params);
  let history = [];
  let told = "";
  let all = new Map();
  let order = [];
  const selected = new Set();
  let cursor = -1;
  let closed = false;

  const views = ["standing", "history"].map((name) => h("button", { type: "button", role: "tab", onclick: () => change({ view: name }) }, t(`alarms.${name}`)));
  const unitChoice = h("select", { "aria-label": t("filter.unit"), onchange: () => change({ unit: unitChoice.value }) });
  const priorityChoice = h("select", { "aria-label": t("filter.priority"), onchange: () => change({ priority: priorityChoice.value }) },
    h("option", { value: "" }, t("filter.anyPriority")), [1, 2, 3, 4].map((p) => h("option", { value: p }, `${p} ${t(`priority.${p}`)}`)));
  const stateChoice = h("select", { "aria-label": t("filter.state"), onchange: () => change({ state: stateChoice.value }) },
    h("option", { value: "" }, t("filter.anyState")), ["UNACK", "ACKED", "RTNUN", "NORM"].map((s) => h("option", { value: s }, stateWord(s))));
  const find = h("input", { type: "search", placeholder: t("filter.text"), "aria-label": t("filter.text"), oninput: () => change({ q: find.value }) });
  const fresh = h("button", { type: "button", class: "fresh", onclick: () => arrange(true) });
  const count = h("span", { class: "count" });
  const ackButton = h("button", { type: "button", class: "primary", onclick: () => acknowledge(chosen(), { comment: chosen().length > 1 }) });
  const commentButton = h("button", { type: "button", onclick: () => acknowledge(chosen(), { comment: true }) }, t("ack.withComment"));
  const everything = h("input", { type: "checkbox", "aria-label": t("select.all"), onchange: () => { selected.clear(); if (everything.checked) for (const id of order) selected.add(id); draw(); } });
  const empty = h("p", { class: "empty" });
  const rows = new Rows({ make, show, label: t("page.alarms") });
  const head = h("div", { class: "alarm-row head" },
    h("span", { class: "c-check" }, everything), h("span", { class: "c-mark" }), h("span", { class: "c-what" }, t("alarm.what")), h("span", { class: "c-where" }, t("alarm.where")),
    h("span", { class: "c-value" }, t("alarm.howBad")), h("span", { class: "c-since" }, t("alarm.since")), h("span", { class: "c-last" }, t("alarm.lasted")), h("span", { class: "c-state" }, t("alarm.state")));
  root.append(h("div", { class: "alarms-page" },
    h("div", { class: "bar" }, h("div", { class: "tabs", role: "tablist" }, views), unitChoice, priorityChoice, stateChoice, find, count, h("span", { class: "push" }), commentButton, ackButton),
    h("div", { class: "table panel" }, head, rows.node, empty, fresh)));
  rows.node.addEventListener("pointerleave", () => arrange());
  rows.node.addEventListener("keydown", keys);

  function read(from) {
    return { view: from.get("view") === "history" ? "history" : "standing", unit: from.get("unit") ?? "", priority: from.get("priority") ?? "", state: from.get("state") ?? "", q: from.get("q") ?? "", id: from.get("id") ?? "" };
  }

  function change(part) {
    filter = { ...filter, ...part, id: "" };
    note("alarms", { ...filter, view: filter.view === "standing" ? "" : filter.view }, { step: "view" in part });
    selected.clear();
    apply();
  }

  function apply() {
    views.forEach((button, i) => attribute(button, "aria-selected", ["standing", "history"][i] === filter.view));
    if (find.value !== filter.q) find.value = filter.q;
    const units = [...new Set(plant.order.map((tag) => tag.unitName))];
    unitChoice.replaceChildren(h("option", { value: "" }, t("filter.anyUnit")), ...units.map((name) => h("option", { value: name }, name)));
    unitChoice.value = filter.unit;
    priorityChoice.value = filter.priority;
    stateChoice.value = filter.state;
    rows.node.scrollTop = 0;
    if (filter.view === "history") load();
    arrange(true);
    if (filter.id) {
      openAlarm(filter.id, plant.alarms.get(filter.id));
      filter.id = "";
    }
  }

  async function load() {
    try {
      history = (await get(`api/v1/alarms?state=history&limit=${HISTORY}`)).alarms;
      told = "";
    } catch (error) {
      told = error.message;
    }
    if (!closed) arrange(true);
  }

  function matches(row) {
    if (filter.unit && alarmUnit(row) !== filter.unit) return false;
    if (filter.priority && String(row.priority) !== filter.priority) return false;
    if (filter.state && row.state !== filter.state) return false;
    const words = filter.q.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return true;
    const all = `${row.alarm} ${alarmTitle(row)} ${row.explanation} ${row.edge} ${row.acked_by}`.toLowerCase();
    return words.every((word) => all.includes(word));
  }

  /** Put the rows in order; while the pointer rests on them only when asked to. */
  function arrange(now = false) {
    const rest = rows.node.matches(":hover") || selected.size > 0;
    const source = filter.view === "history" ? history : [...plant.alarms.values()];
    const next = source.filter(matches);
    if (filter.view === "standing") next.sort(compare);
    const known = new Set(order);
    const arrived = next.filter((row) => !known.has(row.occurrence)).length;
    if (now || !rest) {
      all = new Map(next.map((row) => [row.occurrence, row]));
      order = next.map((row) => row.occurrence);
      for (const id of selected) if (!all.has(id)) selected.delete(id);
      fresh.hidden = true;
    } else {
      for (const row of next) if (known.has(row.occurrence)) all.set(row.occurrence, row);
      const here = new Set(next.map((row) => row.occurrence));
      for (const id of order) if (!here.has(id) && filter.view === "standing") all.set(id, { ...all.get(id), state: "NORM" });
      fresh.hidden = arrived === 0;
      text(fresh, t("alarms.new", { n: arrived }));
    }
    draw();
  }

  function draw() {
    rows.count(order.length);
    const n = chosen().length;
    const open = chosen().filter(unacknowledged).length;
    text(ackButton, n > 1 ? t("ack.doMany", { n: open }) : t("ack.do"));
    const may = !session.user || session.may("acknowledge");
    ackButton.disabled = open === 0 || !may;
    commentButton.disabled = open === 0 || !may;
    everything.checked = order.length > 0 && selected.size === order.length;
    const filtered = filter.unit || filter.priority || filter.state || filter.q;
    text(count, told || t("alarms.shown", { n: plain(order.length) }));
    empty.hidden = order.length > 0;
    text(empty, filtered ? t("alarms.noMatch") : filter.view === "history" ? t("alarms.noHistory") : t("alarms.none"));
  }

  function chosen() {
    const ids = selected.size ? [...selected] : cursor >= 0 && order[cursor] ? [order[cursor]] : [];
    return ids.map((id) => all.get(id)).filter(Boolean);
  }

  function make() {
    const row = {};
    row.check = h("input", { type: "checkbox", "aria-label": t("select.one"), onclick: (event) => event.stopPropagation(), onchange: () => { if (row.check.checked) selected.add(row.id); else selected.delete(row.id); draw(); } });
    row.mark = mark(null);
    for (const name of ["what", "why", "where", "value", "since", "last", "state"]) row[name] = h("span", null);
    const node = h("div", { class: "alarm-row", role: "row", onclick: () => { cursor = order.indexOf(row.id); openAlarm(row.id, all.get(row.id)); draw(); } },
      h("label", { class: "c-check", onclick: (event) => event.stopPropagation() }, row.check), h("span", { class: "c-mark" }, row.mark),
      h("span", { class: "c-what" }, row.what, row.why), h("span", { class: "c-where" }, row.where), h("span", { class: "c-value" }, row.value),
      h("span", { class: "c-since" }, row.since), h("span", { class: "c-last" }, row.last), h("span", { class: "c-state" }, row.state));
    row.what.className = "title";
    row.why.className = "why";
    node.parts = row;
    return node;
  }

  function show(node, index) {
    const row = all.get(order[index]);
    const p = node.parts;
    p.id = row.occurrence;
    p.check.checked = selected.has(row.occurrence);
    setMark(p.mark, row);
    setTitle(p.what, row);
    text(p.why, row.explanation);
    text(p.where, alarmPlace(row));
    text(p.value, alarmValue(row));
    const raised = row.raised_ns / MS;
    text(p.since, shortStamp(raised, plant.now()));
    attribute(p.since, "title", `${stamp(raised)}\n${utc(raised)}`);
    text(p.last, lasting(row));
    text(p.state, waiting(row.occurrence) ? t("ack.waiting") : row.state === "ACKED" && row.acked_by ? t("alarm.ackedShort", { user: row.acked_by }) : stateWord(row.state));
    attribute(node, "data-occurrence", row.occurrence);
    attribute(node, "data-state", row.state);
    attribute(node, "aria-selected", selected.has(row.occurrence) || index === cursor);
  }

  function keys(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) {
      cursor = Math.max(0, Math.min(order.length - 1, cursor + step));
      rows.reveal(cursor);
      draw();
      event.preventDefault();
    } else if (event.key === " " && cursor >= 0) {
      const id = order[cursor];
      if (selected.has(id)) selected.delete(id);
      else selected.add(id);
      draw();
      event.preventDefault();
    } else if (event.key === "Enter" && cursor >= 0) openAlarm(order[cursor], all.get(order[cursor]));
  }

  function changed(event) {
    if (filter.view === "history") {
      const place = new Map(history.map((row, i) => [row.occurrence, i]));
      for (const row of event.detail) {
        if (place.has(row.occurrence)) history[place.get(row.occurrence)] = row;
        else history.unshift(row);
      }
    }
    arrange();
  }
  plant.addEventListener("alarms", changed);
  const redraw = () => draw();
  plant.addEventListener("pending", redraw);
  apply();
  let second = 0;
  return {
    refresh: () => { if (Date.now() - second > 900) { second = Date.now(); rows.refresh(); } },
    rebuild: apply,
    params: (next) => { filter = read(next); apply(); },
    acknowledge: () => acknowledge(chosen(), { comment: chosen().length > 1 }),
    hasChoice: () => chosen().length > 0,
    close: () => {
      closed = true;
      rows.close();
      closeAlarm();
      plant.removeEventListener("alarms", changed);
      plant.removeEventListener("pending", redraw);
    },
  };
}
