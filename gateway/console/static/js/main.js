// The shell around every page: header, alarm banner, stream loss, foot, keyboard, language and light.

import { acknowledge, act } from "./actions.js";
import { alarms } from "./alarms.js";
import { audit } from "./audit.js";
import { closeAlarm, openAlarm, shownAlarm } from "./detail.js";
import { attribute, h, text } from "./dom.js";
import { clock, day, plain, setZone, span, utc, zoneName, zoneOffset } from "./format.js";
import { language, preferred, speak, t } from "./i18n.js";
import { batches } from "./batches.js";
import { changes } from "./changes.js";
import { divert, diverters } from "./divert.js";
import { handover } from "./handover.js";
import { kpis } from "./kpis.js";
import { machines } from "./machines.js";
import { alarmUnit, alarmValue, mark, setMark, setTitle } from "./marks.js";
import { notice } from "./notice.js";
import { overview } from "./overview.js";
import { called, compare, get, MS, plant, unacknowledged } from "./plant.js";
import { go, link, place } from "./route.js";
import { search } from "./search.js";
import { session } from "./session.js";
import { sound, soundMenu } from "./sound.js";
import { spc } from "./spc.js";
import { spectra } from "./spectra.js";
import { system } from "./system.js";
import { trends } from "./trends.js";
import { unit } from "./unit.js";
import { users } from "./users.js";
import { said } from "./said.js";

const PAGES = { overview, trends, batches, spc, machines, spectra, alarms, handover, kpis, changes, audit, users, system, unit };
/** Pages that are reached from another one. */
const BENEATH = { unit: "overview", batches: "overview", machines: "overview", spectra: "trends" };
const KEYS = { b: "batches", m: "machines", o: "overview", a: "alarms", t: "trends", p: "spc", n: "spectra", h: "handover", k: "kpis", c: "changes", r: "audit", u: "users", s: "system" };
/** Pages that only some may see; everybody sees the others. */
const ONLY = { audit: "read_audit", users: "manage_users" };
// Only a continuous line has one: its tab is hidden elsewhere.
PAGES.divert = divert;
KEYS.d = "divert";
const THEME = "pharmedge.theme";
const READ_MS = 1000;
let page = null;
let name = "";
let ui = null;
let chord = -Infinity;

function theme() {
  const kept = localStorage.getItem(THEME);
  return kept === "light" || kept === "dark" ? kept : matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function paint() {
  document.documentElement.dataset.theme = theme();
  if (ui) attribute(ui.light, "aria-pressed", theme() === "dark");
  page?.recolor?.();
  page?.refresh?.();
}

function shell() {
  const tabs = Object.keys(PAGES).filter((key) => !BENEATH[key]).map((key) => h("a", { href: link(key, {}), "data-page": key, title: `g ${Object.keys(KEYS).find((k) => KEYS[k] === key)}` }, t(`page.${key}`)));
  ui = { tabs };
  ui.where = h("span", { class: "where" });
  ui.badge = h("span", { class: "badge" }, t("simulated"));
  ui.clock = h("span", { class: "clock" });
  ui.zone = h("span", { class: "zone" });
  ui.light = h("button", { type: "button", title: t("light"), "aria-label": t("light"), onclick: () => { localStorage.setItem(THEME, theme() === "dark" ? "light" : "dark"); paint(); } }, "◐");
  ui.horn = h("button", { type: "button", class: "horn", title: t("horn"), "aria-label": t("horn"), onclick: soundMenu }, "♪");
  ui.quiet = h("button", { type: "button", class: "sound-off", onclick: () => (sound.state === "muted" ? soundMenu() : sound.set(true)) });
  ui.who = h("button", { type: "button", class: "who", onclick: () => session.menu() });
  ui.speech = h("button", { type: "button", class: "speech", lang: language === "en" ? "zh-CN" : "en", onclick: () => say(language === "en" ? "zh" : "en") }, language === "en" ? "中文" : "English");
  ui.lost = h("div", { class: "lost-bar", role: "alert", hidden: true });
  ui.bannerMark = mark(null);
  ui.bannerUnit = h("span", { class: "b-unit" });
  ui.bannerTitle = h("span", { class: "b-title" });
  ui.bannerText = h("span", { class: "b-text" }, ui.bannerUnit, ui.bannerTitle);
  ui.bannerWhy = h("span", { class: "b-why" });
  ui.bannerSince = h("span", { class: "b-since" });
  ui.bannerCounts = h("span", { class: "b-counts" });
  ui.bannerAck = h("button", { type: "button", class: "primary", title: "a", onclick: () => acknowledgeBanner() }, t("ack.do"));
  ui.bannerOpen = h("button", { type: "button", class: "b-open", onclick: () => ui.shown && openAlarm(ui.shown.occurrence, ui.shown) }, ui.bannerMark, ui.bannerText, ui.bannerWhy, ui.bannerSince);
  ui.banner = h("div", { class: "banner", role: "region", "aria-label": t("banner"), "data-quiet": "" }, ui.bannerOpen, ui.quiet, ui.bannerCounts, ui.bannerAck);
  ui.main = h("main", { id: "page" });
  ui.links = h("div", { class: "links" });
  ui.foot = h("footer", null, ui.links, h("span", { class: "push" }), ui.zone);
  document.body.replaceChildren(
    h("header", { class: "top" },
      h("a", { class: "brand", href: link("overview", {}) }, "Pharmedge"), ui.where, ui.badge, h("nav", { "aria-label": t("pages") }, tabs),
      h("span", { class: "push" }), ui.clock,
      h("div", { class: "tools" }, h("button", { type: "button", title: `${t("search.title")} ( / )`, "aria-label": t("search.title"), onclick: find }, "⌕"), ui.horn, ui.light, h("button", { type: "button", title: `${t("help.title")} ( ? )`, "aria-label": t("help.title"), onclick: help }, "?"), ui.speech, ui.who)),
    ui.lost, ui.banner, ui.main, ui.foot);
}

async function say(lang) {
  await speak(lang);
  page?.close();
  page = null;
  closeAlarm();
  shell();
  chrome();
  visit();
}

function visit() {
  const here = place();
  const key = here.page in PAGES ? here.page : "overview";
  if (page && name === key && page.params) page.params(here.params);
  else if (!page || name !== key) {
    closeAlarm();
    page?.close();
    ui.main.replaceChildren();
    attribute(ui.main, "class", `page-${key}`);
    name = key;
    page = PAGES[key](ui.main, here.params);
  }
  for (const tab of ui.tabs) attribute(tab, "aria-current", tab.dataset.page === (BENEATH[key] ?? key) ? "page" : null);
}

/** Everything around the page: place, clock, banner, foot, and whether the stream lives. */
function chrome() {
  const now = plant.now();
  text(ui.where, plant.hello ? `${plant.hello.site} · ${plant.hello.gateway}` : "");
  ui.badge.hidden = ![...plant.edges.values()].some((edge) => edge.simulated) && plant.hello?.mode !== "simulation";
  text(ui.clock, plant.hello ? `${day(now)} ${clock(now)}` : "");
  attribute(ui.clock, "title", plant.hello ? utc(now) : null);
  text(ui.zone, plant.hello ? t("zone", { zone: zoneName(), offset: zoneOffset(now) }) : "");
  text(ui.who, session.open ? t("session.none") : session.user ? session.user.full_name : t("session.login"));
  attribute(ui.who, "title", session.open ? t("session.noAccounts") : session.user ? `${session.user.name} · ${t(`role.is.${session.user.role}`)}` : t("session.looking"));
  attribute(ui.who, "data-in", session.user ? "" : null);
  for (const tab of ui.tabs) tab.hidden = tab.dataset.page in ONLY && Boolean(session.user ? !session.may(ONLY[tab.dataset.page]) : tab.dataset.page === "users");
  for (const tab of ui.tabs) if (tab.dataset.page === "divert") tab.hidden = !diverters().length && name !== "divert";
  const silent = sound.state !== "on";
  // Its room is kept, so that nothing moves under the pointer that switches the sound on.
  ui.quiet.classList.toggle("gone", !silent);
  text(ui.quiet, t("sound.off"));
  attribute(ui.quiet, "title", t(`sound.is.${sound.state}`));
  attribute(ui.quiet, "tabindex", silent ? "0" : "-1");
  attribute(ui.quiet, "aria-hidden", !silent);
  attribute(ui.horn, "aria-pressed", !silent);
  lost(now);
  banner(now);
}

function lost(now) {
  const gone = !plant.live && (plant.ready || plant.failure || (plant.lostSince && Date.now() - plant.lostSince > 2500));
  document.body.classList.toggle("lost", Boolean(gone));
  const away = gone ? [] : [...plant.edges.values()].filter((edge) => plant.live && !edge.connected);
  ui.lost.hidden = !gone && !away.length && !plant.updated;
  if (gone) text(ui.lost, [plant.ready ? t("lost", { time: clock(plant.lostSince), age: span((now - plant.lostSince) / 1000) }) : t("lost.never"), plant.failure].filter(Boolean).join(" · "));
  else if (away.length) text(ui.lost, away.map((edge) => (edge.last_seen_ns === null ? t("lost.edgeNever", { edge: edge.edge }) : t("lost.edge", { edge: edge.edge, time: asOf(edge.last_seen_ns / MS, now) }))).join(" · "));
  else if (plant.updated) text(ui.lost, t("updated", { version: plant.hello?.version }));
  attribute(ui.lost, "data-kind", gone ? "lost" : away.length ? "away" : "updated");
}

/** A clock time, with its day where that was another one. */
function asOf(ms, now) {
  return day(ms) === day(now) ? clock(ms) : `${day(ms)} ${clock(ms)}`;
}

function banner(now) {
  const standing = called().sort(compare);
  const worst = standing[0] ?? null;
  const before = ui.shown?.occurrence;
  // What is under the pointer stays until the pointer goes or the alarm is over.
  if (!ui.shown || !standing.some((row) => row.occurrence === ui.shown.occurrence) || !ui.banner.matches(":hover")) ui.shown = worst;
  else ui.shown = plant.alarms.get(ui.shown.occurrence);
  if (before && ui.shown && ui.shown.occurrence !== before) ui.changed = performance.now();
  const row = ui.shown;
  attribute(ui.banner, "data-quiet", row ? null : "");
  attribute(ui.banner, "data-priority", row?.priority ?? null);
  setMark(ui.bannerMark, row);
  text(ui.bannerUnit, row ? `${alarmUnit(row)} · ` : "");
  if (row) setTitle(ui.bannerTitle, row);
  else text(ui.bannerTitle, plant.ready ? t("alarms.none") : t("loading"));
  const why = row ? alarmValue(row) || said(row.explanation) : "";
  text(ui.bannerWhy, why);
  attribute(ui.bannerWhy, "title", why || null);
  text(ui.bannerSince, row ? t("since", { time: clock(row.raised_ns / MS), age: span((now - row.raised_ns / MS) / 1000) }) : "");
  const open = standing.filter(unacknowledged).length;
  text(ui.bannerCounts, standing.length > 1 ? t("alarms.counts", { n: plain(standing.length), open: plain(open) }) : "");
  ui.bannerAck.hidden = !row || !unacknowledged(row) || Boolean(session.user && !session.may("acknowledge"));
  ui.bannerOpen.disabled = !row;
  document.title = `${open ? `(${open}) ` : ""}${plant.live || !plant.ready ? "" : "! "}${t(`page.${name || "overview"}`)} · Pharmedge`;
}

const feet = new Map();
function foot() {
  for (const [id, node] of feet) if (!plant.edges.has(id) || !ui.links.contains(node.node)) { node.node.remove(); feet.delete(id); }
  if (!plant.edges.size) {
    if (!ui.links.childNodes.length) ui.links.append(h("span", { class: "quiet none" }, plant.ready ? t("edges.none") : t("loading")));
    else if (plant.ready) text(ui.links.firstChild, t("edges.none"));
    return;
  }
  ui.links.querySelector(".none")?.remove();
  for (const edge of plant.edges.values()) {
    let item = feet.get(edge.edge);
    if (!item) {
      const state = h("span", { class: "f-state" });
      const backlog = h("span", { class: "f-backlog" });
      item = { state, backlog, node: h("a", { class: "edge-link", href: link("system", {}) }, h("i", { class: "dot" }), h("b", null, edge.edge), state, backlog) };
      feet.set(edge.edge, item);
      ui.links.append(item.node);
    }
    const seen = edge.last_seen_ns === null ? null : (plant.now() - edge.last_seen_ns / MS) / 1000;
    const good = plant.live && edge.connected && !edge.refused;
    attribute(item.node, "data-good", good ? "" : null);
    text(item.state, !plant.live ? t("unknown") : edge.refused ? t("edge.refused") : edge.connected ? t("connected") : `${t("disconnected")}${seen === null ? "" : ` · ${span(seen)}`}`);
    text(item.backlog, !good ? "" : edge.backlog ? t("backlog", { n: plain(edge.backlog) }) : t("backlog.none"));
  }
}

function acknowledgeBanner(options) {
  const row = shownAlarm() ?? ui.shown;
  // A key that was meant for the alarm before does not acknowledge the one that has just taken its place.
  if (!shownAlarm() && performance.now() - (ui.changed ?? -Infinity) < READ_MS) notice(t("ack.changed"));
  else if (row) acknowledge([row], options);
  else notice(t("ack.nothing"));
}

function find() {
  search((tag) => {
    if (page.add) page.add(tag);
    else go("trends", { tag: [tag.key] });
  });
}

function help() {
  if (document.querySelector("dialog[open]")) return;
  const pages = Object.entries(KEYS).map(([key, page]) => [`g ${key}`, `page.${page}`]);
  const keys = [["a", "help.a"], ["Shift+A", "help.A"], ["s", "help.s"], ["m", "help.m"], ["w", "help.w"], ["/", "help.search"], ...pages, ["u", "help.u"], ["?", "help.title"], ["Esc", "help.esc"]];
  const marks = [1, 2, 3, 4].map((p) => h("li", null, mark({ priority: p, state: "ACKED" }), t(`priority.${p}`)));
  const looks = [["UNACK", "help.unack"], ["ACKED", "help.acked"], ["RTNUN", "help.rtnun"], ["SHLVD", "help.covered"]].map(([state, words]) => h("li", null, mark({ priority: 2, state }), t(words)));
  const dialog = h("dialog", { class: "help", "aria-label": t("help.title") }, h("h2", null, t("help.title")),
    h("table", null, keys.map(([key, words]) => h("tr", null, h("td", null, h("kbd", null, key)), h("td", null, t(words))))),
    h("h3", null, t("help.marks")), h("ul", { class: "plain legend" }, marks, looks),
    h("h3", null, t("help.qualities")), h("ul", { class: "plain legend" }, ["uncertain", "bad", "stale"].map((q) => h("li", null, h("span", { class: "sample", "data-quality": q }, "12.34"), t(`help.${q}`)))),
    h("form", { method: "dialog", class: "buttons" }, h("button", { class: "primary" }, t("close"))));
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  document.body.append(dialog);
  dialog.showModal();
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && !document.querySelector("dialog[open]")) {
    closeAlarm();
    return;
  }
  if (document.querySelector("dialog[open]") || event.target.closest?.("input:not([type=checkbox]), select, textarea")) return;
  const now = performance.now();
  const target = KEYS[event.key.toLowerCase()];
  if (now - chord < 1500 && target) {
    chord = -Infinity;
    event.preventDefault();
    go(target, {});
    return;
  }
  chord = -Infinity;
  const press = {
    g: () => { chord = now; },
    "/": find,
    "?": help,
    u: () => session.menu(),
    s: () => {
      if (page?.hasChoice?.() && !shownAlarm()) page.act("shelve");
      else if (shownAlarm() ?? ui.shown) act("shelve", [shownAlarm() ?? ui.shown]);
      else notice(t("act.nothing", { what: t("act.is.shelve") }));
    },
    w: page?.why,
    m: () => notice(t("sound.silenced", { n: sound.silence() })),
    a: () => (page?.hasChoice?.() && !shownAlarm() ? page.acknowledge() : acknowledgeBanner()),
    A: () => acknowledgeBanner({ comment: true }),
  }[event.key];
  if (press) {
    event.preventDefault();
    press();
  }
});

let dirty = false;
function soon() {
  if (dirty) return;
  dirty = true;
  // A hidden page gets no frames; its clock still turns it stale.
  const draw = () => {
    dirty = false;
    if (plant.live && !performance.getEntriesByName("usable").length) performance.mark("usable");
    chrome();
    foot();
    page?.refresh();
  };
  if (document.hidden) setTimeout(draw, 200);
  else requestAnimationFrame(draw);
}

async function begin() {
  document.documentElement.dataset.theme = theme();
  await speak(preferred());
  shell();
  plant.addEventListener("hello", () => setZone(plant.hello.timezone));
  plant.addEventListener("tags", () => { page?.rebuild?.(); soon(); });
  for (const event of ["values", "edges", "beat", "link", "pending"]) plant.addEventListener(event, soon);
  plant.addEventListener("alarms", soon);
  sound.addEventListener("change", soon);
  sound.start();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
  addEventListener("hashchange", visit);
  setInterval(soon, 500);
  // The zone decides every time on the screen, so it is known before the first one is drawn.
  try {
    setZone((await get("api/v1/status")).timezone);
  } catch (error) {
    plant.failure = error.message;
  }
  session.addEventListener("change", soon);
  await session.start();
  visit();
  plant.start();
  soon();
}

begin();
// Installing and notifications need it; the page itself does not.
navigator.serviceWorker?.register("sw.js").catch(() => {});
