// Alarms: what stands, what is suppressed, and the history; filtered, selected, acted upon. What is being read does not move.

import { attribute, h, text } from "./dom.js";
import { clock, plain, plantInstant, plantLocal } from "./format.js";
import { t } from "./i18n.js";
import { acknowledge, act, allowed, fits } from "./actions.js";
import { floods, inOrder, matches, ofView, VIEWS } from "./alarmlist.js";
import { makeRow, showGroup, showRow } from "./alarmrow.js";
import { closeAlarm, openAlarm } from "./detail.js";
import { stateWord } from "./marks.js";
import { get, MS, plant, unacknowledged } from "./plant.js";
import { note } from "./route.js";
import { Rows } from "./rows.js";
import { said } from "./said.js";

const HISTORY = 2000;
const TYPING_MS = 250;
const FILTERS = ["unit", "priority", "state", "q", "from", "to"];

export function alarms(root, params) {
  let filter = read(params);
  let history = [];
  let told = "";
  let all = new Map();
  let entries = [];
  const selected = new Set();
  const unfolded = new Set();
  let cursor = -1;
  let closed = false;
  let typing = 0;
  let asked = 0;

  const views = VIEWS.map((name) => h("button", { type: "button", role: "tab", onclick: () => change({ view: name }) }, t(`alarms.${name}`)));
  const unitChoice = h("select", { "aria-label": t("filter.unit"), onchange: () => change({ unit: unitChoice.value }) });
  const priorityChoice = h("select", { "aria-label": t("filter.priority"), onchange: () => change({ priority: priorityChoice.value }) },
    h("option", { value: "" }, t("filter.anyPriority")), [1, 2, 3, 4].map((p) => h("option", { value: p }, `${p} ${t(`priority.${p}`)}`)));
  const stateChoice = h("select", { "aria-label": t("filter.state"), onchange: () => change({ state: stateChoice.value }) },
    h("option", { value: "" }, t("filter.anyState")), ["UNACK", "ACKED", "RTNUN", "SHLVD", "DSUPR", "OOSRV", "NORM"].map((s) => h("option", { value: s }, stateWord(s))));
  const find = h("input", { type: "search", placeholder: t("filter.text"), "aria-label": t("filter.text"), oninput: () => { clearTimeout(typing); typing = setTimeout(() => change({ q: find.value }), filter.view === "history" ? TYPING_MS : 0); } });
  const times = ["from", "to"].map((name) => h("input", { type: "datetime-local", step: 1, "aria-label": t(`filter.${name}`), title: t(`filter.${name}`), onchange: (event) => change({ [name]: event.target.value ? new Date(plantInstant(event.target.value)).toISOString() : "" }) }));
  const span = h("span", { class: "filter-span" }, times[0], "–", times[1]);
  const fresh = h("button", { type: "button", class: "fresh", onclick: () => arrange(true) });
  const count = h("span", { class: "count" });
  const buttons = [
    ["comment", "standing", () => acknowledge(chosen(), { comment: true }), "acknowledge"], ["shelve", "standing history", () => act("shelve", chosen())], ["out_of_service", "standing history", () => act("out_of_service", chosen())],
    ["unshelve", "shelved", () => act("unshelve", chosen())], ["in_service", "service", () => act("in_service", chosen())],
  ].map(([name, where, onclick, kind = name]) => ({ where, kind, node: h("button", { type: "button", "data-act": name, onclick }, name === "comment" ? t("ack.withComment") : t(`act.do.${name}`)) }));
  const ackButton = h("button", { type: "button", class: "primary", onclick: () => acknowledge(chosen(), { comment: chosen().length > 1 }) });
  const everything = h("input", { type: "checkbox", "aria-label": t("select.all"), onchange: () => { selected.clear(); if (everything.checked) for (const id of ids()) selected.add(id); draw(); } });
  const floodWords = h("span", null);
  const floodSwitch = h("button", { type: "button", onclick: () => change({ grouped: isGrouped() ? "0" : "1" }) });
  const floodBar = h("div", { class: "flood", role: "status", hidden: true }, floodWords, floodSwitch);
  const empty = h("p", { class: "empty" });
  const rows = new Rows({ make: () => makeRow({ select, open, fold }), show, label: t("page.alarms") });
  const since = h("span", { class: "c-since" });
  const last = h("span", { class: "c-last" });
  const head = h("div", { class: "alarm-row head" },
    h("span", { class: "c-check" }, everything), h("span", { class: "c-mark" }), h("span", { class: "c-what" }, t("alarm.what")), h("span", { class: "c-where" }, t("alarm.where")),
    h("span", { class: "c-value" }, t("alarm.howBad")), since, last, h("span", { class: "c-state" }, t("alarm.state")), h("span", { class: "c-trend" }));
  root.append(h("div", { class: "alarms-page" },
    h("div", { class: "bar" }, h("div", { class: "tabs", role: "tablist" }, views), unitChoice, priorityChoice, stateChoice, find, span, count, h("span", { class: "push" }), buttons.map((b) => b.node), ackButton),
    floodBar, h("div", { class: "table panel" }, head, rows.node, empty, fresh)));
  rows.node.addEventListener("pointerleave", () => arrange());
  rows.node.addEventListener("keydown", keys);

  function read(from) {
    const found = Object.fromEntries(FILTERS.map((name) => [name, from.get(name) ?? ""]));
    return { ...found, view: VIEWS.includes(from.get("view")) ? from.get("view") : "standing", grouped: from.get("grouped") ?? "", id: from.get("id") ?? "" };
  }

  function change(part) {
    filter = { ...filter, ...part, id: "" };
    note("alarms", { ...filter, view: filter.view === "standing" ? "" : filter.view }, { step: "view" in part });
    selected.clear();
    cursor = -1;
    apply();
  }

  function isGrouped() {
    return filter.grouped === "1" || (filter.grouped !== "0" && floods().length > 0);
  }

  function apply() {
    views.forEach((button, i) => attribute(button, "aria-selected", VIEWS[i] === filter.view));
    if (find.value !== filter.q) find.value = filter.q;
    const units = [...new Set(plant.order.map((tag) => tag.unitName))];
    unitChoice.replaceChildren(h("option", { value: "" }, t("filter.anyUnit")), ...units.map((name) => h("option", { value: name }, name)));
    unitChoice.value = filter.unit;
    priorityChoice.value = filter.priority;
    stateChoice.value = filter.state;
    span.hidden = filter.view !== "history";
    times.forEach((node, i) => { node.value = filter[["from", "to"][i]] ? plantLocal(Date.parse(filter[["from", "to"][i]])) : ""; });
    const covering = !["standing", "history"].includes(filter.view);
    text(since, t(covering ? "alarm.suppressedSince" : "alarm.since"));
    text(last, t(covering ? "alarm.for" : "alarm.lasted"));
    for (const { where, node } of buttons) node.hidden = !where.split(" ").includes(filter.view);
    ackButton.hidden = filter.view !== "standing";
    rows.node.scrollTop = 0;
    if (filter.view === "history") load();
    arrange(true);
    if (filter.id) {
      openAlarm(filter.id, plant.alarms.get(filter.id));
      filter.id = "";
    }
  }

  async function load() {
    const mine = asked += 1;
    const search = new URLSearchParams({ state: "history", limit: HISTORY });
    for (const [name, key] of [["unit", "unit"], ["priority", "priority"], ["state", "is"], ["from", "from"], ["to", "to"], ["q", "q"]]) if (filter[name]) search.set(key, filter[name]);
    try {
      const found = (await get(`api/v1/alarms?${search}`)).alarms;
      if (mine !== asked) return;
      history = found;
      told = "";
    } catch (error) {
      told = error.message;
    }
    if (!closed) arrange(true);
  }

  function ids() {
    return entries.filter((entry) => entry.id).map((entry) => entry.id);
  }

  /** Put the rows in order; while the pointer rests on them or some are selected only when asked to. */
  function arrange(now = false) {
    const rest = rows.node.matches(":hover") || selected.size > 0;
    const source = filter.view === "history" ? history : ofView(filter.view);
    // The words of a history were looked for where it is kept.
    const sieve = filter.view === "history" ? { ...filter, q: "" } : filter;
    const next = source.filter((row) => matches(row, sieve));
    const known = new Set(all.keys());
    const arrived = next.filter((row) => !known.has(row.occurrence)).length;
    if (now || !rest) {
      all = new Map(next.map((row) => [row.occurrence, row]));
      const at = entries[cursor]?.id;
      entries = inOrder(next, { view: filter.view, grouped: filter.view === "standing" && isGrouped(), unfolded });
      cursor = at ? entries.findIndex((entry) => entry.id === at) : -1;
      for (const id of selected) if (!all.has(id)) selected.delete(id);
      fresh.hidden = true;
    } else {
      for (const row of next) if (known.has(row.occurrence)) all.set(row.occurrence, row);
      const here = new Set(next.map((row) => row.occurrence));
      // What left the list stays where it was read, with what it is now.
      for (const id of known) if (!here.has(id) && filter.view !== "history") all.set(id, plant.alarms.get(id) ?? { ...all.get(id), state: "NORM" });
      fresh.hidden = arrived === 0;
      text(fresh, t("alarms.new", { n: arrived }));
    }
    draw();
  }

  function draw() {
    rows.count(entries.length);
    const picked = chosen();
    const open = picked.filter(unacknowledged).length;
    text(ackButton, picked.length > 1 ? t("ack.doMany", { n: open }) : t("ack.do"));
    ackButton.disabled = open === 0 || !allowed("acknowledge");
    for (const { kind, node } of buttons) node.disabled = !allowed(kind) || !picked.some((row) => fits(kind, row));
    const shown = ids().length;
    const folded = all.size - shown;
    everything.checked = shown > 0 && selected.size === shown;
    const counts = VIEWS.map((view) => (view === "history" ? 0 : ofView(view).length));
    views.forEach((button, i) => text(button, t(`alarms.${VIEWS[i]}`) + (counts[i] && i ? ` ${plain(counts[i])}` : "")));
    text(count, told || t("alarms.shown", { n: plain(all.size) }) + (folded > 0 ? ` · ${t("alarms.folded", { n: plain(folded) })}` : ""));
    empty.hidden = shown > 0;
    text(empty, FILTERS.some((name) => filter[name]) ? t("alarms.noMatch") : t({ history: "alarms.noHistory", standing: "alarms.none" }[filter.view] ?? "alarms.noneHere"));
    const now = floods();
    floodBar.hidden = !now.length && filter.grouped !== "1";
    text(floodWords, now.map((row) => t("alarms.flood", { edge: row.edge, time: clock(row.raised_ns / MS), why: said(row.explanation) })).join(" · "));
    text(floodSwitch, t(isGrouped() ? "alarms.oneList" : "alarms.byTrip"));
    floodSwitch.hidden = filter.view !== "standing";
  }

  function chosen() {
    const picked = selected.size ? [...selected] : entries[cursor]?.id ? [entries[cursor].id] : [];
    return picked.map((id) => all.get(id)).filter(Boolean);
  }

  function select(id, on) {
    if (on) selected.add(id);
    else selected.delete(id);
    draw();
  }

  /** Show all alarms of a trip, or only its first one again. */
  function fold(name) {
    if (!unfolded.delete(name)) unfolded.add(name);
    for (const id of selected) if (!unfolded.has(name) && entries.some((entry) => entry.id === id && entry.trip === name)) selected.delete(id);
    arrange(true);
  }

  function open(id) {
    cursor = entries.findIndex((entry) => entry.id === id);
    openAlarm(id, all.get(id));
    draw();
  }

  function show(node, index) {
    const entry = entries[index];
    if (entry.id) showRow(node, all.get(entry.id), { selected: selected.has(entry.id), current: index === cursor });
    else showGroup(node, entry);
  }

  function keys(event) {
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) {
      cursor = Math.max(0, Math.min(entries.length - 1, cursor + step));
      if (entries[cursor] && !entries[cursor].id) cursor = Math.max(0, Math.min(entries.length - 1, cursor + Math.sign(step)));
      rows.reveal(cursor);
    } else if (event.key === " " && entries[cursor]?.id) select(entries[cursor].id, !selected.has(entries[cursor].id));
    else if (event.key === "Enter" && entries[cursor]?.id) open(entries[cursor].id);
    else if (["ArrowRight", "ArrowLeft"].includes(event.key) && entries[cursor]?.trip && unfolded.has(entries[cursor].trip) !== (event.key === "ArrowRight")) fold(entries[cursor].trip);
    else return;
    draw();
    event.preventDefault();
  }

  function changed(event) {
    if (filter.view === "history") {
      const place = new Map(history.map((row, i) => [row.occurrence, i]));
      for (const row of event.detail) {
        if (place.has(row.occurrence)) history[place.get(row.occurrence)] = row;
        else if (!filter.to && matches(row, filter)) history.unshift(row);
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
    act: (kind) => act(kind, chosen()),
    hasChoice: () => chosen().length > 0,
    close: () => {
      closed = true;
      clearTimeout(typing);
      rows.close();
      closeAlarm();
      plant.removeEventListener("alarms", changed);
      plant.removeEventListener("pending", redraw);
    },
  };
}
