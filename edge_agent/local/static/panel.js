// The panel beside the line: see, hear, acknowledge and shelve, with the gateway gone.

import { desk } from "./desk.js";
import * as horn from "./horn.js";
import { amount, clock, h, language, local, preferred, setZone, span, speak, svg, t, text, word, zoneName } from "./words.js";
import { said } from "./said.js";

const SHAPES = {
  1: "M2.5 2.5h15v15h-15z",
  2: "M10 1.5 18.8 17.5H1.2z",
  3: "M10 18.5 1.2 2.5h17.6z",
  4: "M10 1.8a8.2 8.2 0 1 0 0 16.4a8.2 8.2 0 1 0 0-16.4z",
};
const MIDDLE = { 1: 14, 2: 15.6, 3: 12, 4: 14 };
const OPEN = new Set(["UNACK", "RTNUN", "LATUN"]);
const REST_MS = 2000;
const READ_MS = 1000;
const SHELVE_MIN = [10, 20, 30, 60];

let view = "standing";
let chosen = "";
let order = [];
let touched = -Infinity;
let used = false;
let facing = { occurrence: "", since: 0 };
const nodes = new Map();
const page = {};

const unacknowledged = (row) => OPEN.has(row.state) && !row.suppressed;

function mark(row) {
  const look = row.state === "RTNUN" ? "hollow" : row.state === "UNACK" || row.state === "LATUN" ? "flash" : row.suppressed ? "over" : "steady";
  return svg("svg", { class: `mark p${row.priority} ${look}`, viewBox: "0 0 20 20", role: "img", "aria-label": `${t(`priority.${row.priority}`)}, ${word("state", row.state)}` },
    svg("path", { class: "shape", d: SHAPES[row.priority] ?? SHAPES[4] }),
    svg("text", { x: 10, y: MIDDLE[row.priority] ?? 14, "text-anchor": "middle", "font-size": 11 }, String(row.priority)));
}

function title(row) {
  const kind = row.alarm.startsWith(`${row.tag}.`) && row.tag ? row.alarm.slice(row.tag.length + 1) : row.tag ? "" : row.alarm.split(".").at(-1);
  const name = local(row.description) || row.tag || row.alarm.replace(/\.[^.]*$/, "");
  return kind ? `${name} · ${word("alarm", kind)}` : name;
}

// --- the page -----------------------------------------------------------------------------------------------------------------

function build() {
  nodes.clear();
  const button = (act, label, more = {}) => h("button", { type: "button", onclick: act, ...more }, label);
  page.clock = h("span", { class: "clock" });
  page.person = button(person, "");
  page.quiet = button(() => { horn.silence(); second(); }, t("silence"));
  page.soundOff = button(() => { horn.set(false); second(); }, t("sound.off"));
  page.lost = h("div", { class: "bar lost", role: "alert", hidden: true });
  page.trouble = h("div", { class: "bar trouble", role: "status", hidden: true });
  page.muteWhy = h("span", null);
  page.mute = h("div", { class: "bar mute", role: "alert", hidden: true }, h("b", null, t("mute.title")), page.muteWhy,
    button(async () => { await horn.set(true); second(); }, t("mute.on"), { class: "primary" }));
  page.counts = [1, 2, 3, 4].map((priority) => h("span", { class: "count" }, mark({ priority, state: "ACKED" }), h("span", null, "0")));
  page.tabs = Object.fromEntries(["standing", "suppressed"].map((name) => [name, button(() => { view = name; chosen = ""; arrange(true); }, "", { role: "tab" })]));
  page.all = button(() => acknowledge(inSight()), "", { class: "primary" });
  page.list = h("ul", { class: "list" });
  page.empty = h("p", { class: "empty" });
  page.main = h("main", { tabindex: "-1", onpointerdown: () => { touched = performance.now(); }, onscroll: () => second() }, page.list, page.empty);
  page.people = h("span", null);
  page.zone = h("span", null);
  const other = language === "zh" ? "en" : "zh";
  document.body.replaceChildren(
    h("header", { class: "top" }, h("span", { class: "brand" }, "Pharmedge"), h("h1", null, t("title")), page.edge = h("span", { class: "quiet" }),
      page.simulated = h("span", { class: "badge", hidden: true }, t("simulated")), h("span", { class: "push" }), page.clock, page.quiet,
      button(async () => { await horn.set(true); second(); }, t("sound.test")), page.soundOff,
      button(theme, "◐", { "aria-label": t("light"), title: t("light") }),
      button(async () => { await speak(other); build(); redraw(); }, other === "zh" ? "中文" : "English", { lang: other === "zh" ? "zh-CN" : "en" }), page.person),
    page.lost, page.mute, page.trouble,
    h("div", { class: "line" }, h("span", { class: "tabs", role: "tablist" }, Object.values(page.tabs)), h("span", { class: "quiet" }, t("unacknowledged")), page.counts,
      h("span", { class: "push" }), page.all),
    page.main, h("footer", null, page.people, h("span", { class: "push" }), page.zone),
    page.notices = h("div", { class: "notices", role: "status", "aria-live": "polite" }));
  document.title = t("title");
}

function redraw() {
  about();
  arrange(true);
  second();
}

function about() {
  const facts = desk.about;
  if (!facts) return;
  setZone(facts.timezone);
  text(page.edge, `${facts.site} / ${facts.edge}`);
  text(page.zone, `${t("zone", { zone: zoneName() })} · ${facts.version}`);
  page.simulated.hidden = !facts.simulated;
}

function rows() {
  return [...desk.rows.values()].filter((row) => row.suppressed === (view === "suppressed"));
}

function compare(a, b) {
  return unacknowledged(b) - unacknowledged(a) || a.advisory - b.advisory || a.priority - b.priority || b.raised_ns - a.raised_ns;
}

/** Put the rows in order; while somebody is touching them they stay where they are, and what is new waits below. */
function arrange(now = false) {
  const next = rows().sort(compare);
  const ids = next.map((row) => row.occurrence);
  const resting = performance.now() - touched < REST_MS || document.querySelector("dialog[open]");
  if (now || !resting) order = ids;
  else order = [...order.filter((id) => desk.rows.has(id) && ids.includes(id)), ...ids.filter((id) => !order.includes(id))];
  draw();
}

function draw() {
  const shown = order.map((id) => desk.rows.get(id)).filter(Boolean);
  const kept = new Set(order);
  for (const [id, node] of nodes) if (!kept.has(id)) { node.remove(); nodes.delete(id); }
  shown.forEach((row, place) => {
    let node = nodes.get(row.occurrence);
    const key = JSON.stringify([row, desk.waiting(row.occurrence), chosen === row.occurrence, Boolean(desk.user)]);
    if (!node || node.key !== key) {
      const fresh = alarm(row);
      fresh.key = key;
      const held = node?.contains(document.activeElement) ? document.activeElement.dataset.act : null;
      if (node) node.replaceWith(fresh);
      nodes.set(row.occurrence, fresh);
      node = fresh;
      if (held) node.querySelector(`[data-act=${held}]`)?.focus();
    }
    if (page.list.children[place] !== node) page.list.insertBefore(node, page.list.children[place] ?? null);
  });
  const next = facingRow(shown)?.occurrence ?? "";
  if (next !== facing.occurrence) facing = { occurrence: next, since: performance.now() };
  page.empty.hidden = shown.length > 0;
  text(page.empty, desk.about ? t(`none.${view}`) : t("loading"));
  const standing = [...desk.rows.values()].filter((row) => !row.suppressed);
  for (const [name, tab] of Object.entries(page.tabs)) {
    text(tab, t(`tab.${name}`, { n: name === "standing" ? standing.length : desk.rows.size - standing.length }));
    tab.setAttribute("aria-selected", name === view);
  }
  const open = shown.filter(unacknowledged);
  page.all.hidden = open.length < 2;
  page.counts.forEach((node, i) => {
    const n = standing.filter((row) => unacknowledged(row) && !row.advisory && row.priority === i + 1).length;
    text(node.lastChild, String(n));
    node.dataset.n = n;
  });
  const waiting = standing.filter((row) => unacknowledged(row) && !row.advisory).length;
  document.title = `${desk.live ? "" : "! "}${waiting ? `(${waiting}) ` : ""}${t("title")}`;
  second();
}

/** The row that a key acts on: the chosen one, else the first that waits. */
function facingRow(shown) {
  return shown.find((row) => row.occurrence === chosen) ?? shown.find(unacknowledged);
}

/** Unacknowledged rows on the screen: nobody acknowledges what they have not seen. */
function inSight() {
  const { top, bottom } = page.main.getBoundingClientRect();
  return order.map((id) => desk.rows.get(id)).filter((row) => {
    if (!row || !unacknowledged(row)) return false;
    const box = nodes.get(row.occurrence)?.getBoundingClientRect();
    return box && box.top + 20 < bottom && box.bottom - 20 > top;
  });
}

function alarm(row) {
  const waits = desk.waiting(row.occurrence);
  const act = (name, label, go, primary) => h("button", { type: "button", "data-act": name, class: primary ? "primary" : "", disabled: waits, onclick: go, "aria-label": `${label}: ${title(row)}` }, label);
  const acts = [];
  if (unacknowledged(row)) acts.push(act("ack", waits ? t("sent") : t("ack"), () => acknowledge([row]), true));
  if (row.state === "LATACK") acts.push(act("reset", t("reset"), () => send("reset", [row])));
  if (!row.suppressed) acts.push(act("shelve", t("shelve"), () => shelve(row)));
  if (row.state === "SHLVD") acts.push(act("unshelve", waits ? t("sent") : t("unshelve"), () => send("unshelve", [row])));
  const facts = h("div", { class: "facts" },
    row.value === null ? null : h("div", { class: "value" }, amount(row.value, row.decimals, row.unit)),
    row.limit === null || row.value === null ? null : h("div", { class: "quiet" }, t("limit", { limit: amount(row.limit, row.decimals, "") })),
    h("div", { class: "state" }, row.state === "ACKED" && row.acked_by ? t("acked", { user: row.acked_by }) : word("state", row.state), row.advisory ? ` · ${t("advisory")}` : ""),
    h("div", { class: "quiet age", "data-raised": row.raised_ns / 1e6, "data-until": row.until_ns === null ? "" : row.until_ns / 1e6, "data-oneshot": row.one_shot }));
  const more = chosen === row.occurrence ? ["cause", "consequence", "check"] : [];
  const told = ["response", ...more].filter((kind) => local(row[kind]));
  return h("li", { class: "alarm", "data-occurrence": row.occurrence, "data-state": row.state, "aria-current": chosen === row.occurrence, tabindex: "0",
    onclick: (event) => { if (!event.target.closest("button")) { chosen = chosen === row.occurrence ? "" : row.occurrence; draw(); } },
    onfocus: (event) => { if (event.target === event.currentTarget && chosen !== row.occurrence && !event.currentTarget.matches(":active")) { chosen = row.occurrence; } } },
  mark(row), h("div", null, h("div", { class: "title" }, title(row)), h("div", { class: "place" }, row.alarm), h("div", { class: "why" }, said(row.suppressed ? row.why : row.explanation)),
    told.map((kind) => h("div", { class: "do" }, h("span", { class: "quiet" }, `${t(`do.${kind}`)}: `), kind === "response" ? h("b", null, local(row[kind])) : local(row[kind])))),
  facts, h("div", { class: "acts" }, acts));
}

/** What changes with time alone. */
function second() {
  const now = desk.now();
  text(page.clock, clock(now));
  if (!page.all.hidden) text(page.all, t("ack.all", { n: inSight().length }));
  document.body.classList.toggle("stale", !desk.live);
  page.lost.hidden = desk.live;
  if (!desk.live) text(page.lost, desk.lastMs ? t("lost", { time: clock(desk.lastMs), age: span(now - desk.lastMs) }) : t("lost.never"));
  const stalled = desk.stalled();
  page.trouble.hidden = !desk.live || (!stalled && !desk.problems.length);
  text(page.trouble, stalled ? t("stopped", { age: span(stalled) }) : t("trouble", { why: desk.problems.join("; ") }));
  const muted = horn.muted();
  page.mute.hidden = !muted;
  if (muted) text(page.muteWhy, t(`mute.${muted}`));
  page.soundOff.hidden = muted === "user";
  page.quiet.hidden = !horn.ringing([...desk.rows.values()]) || Boolean(muted);
  for (const node of page.list.querySelectorAll(".age")) {
    const { raised, until, oneshot } = node.dataset;
    const age = until ? t(oneshot === "true" ? "oneshot" : "left", { age: span(until - now) }) : t("since", { time: clock(Number(raised), now), age: span(now - raised) });
    text(node, age);
  }
  const people = desk.about?.people;
  if (people) {
    const age = people.issued_ns === null ? null : span(now - people.issued_ns / 1e6);
    text(page.people, age === null ? t("people.none") : people.open ? t("people.open") : people.count ? t("people", { n: people.count, age }) : t("people.empty"));
  }
  const user = desk.user;
  page.person.hidden = !people || people.open || (!people.count && !user);
  text(page.person, user ? `${user.full_name} · ${word("role", user.role)} · ${t("until", { time: clock(desk.endsMs) })}` : `${t("view")} · ${t("login")}`);
  if (user && desk.endsMs < now) desk.session().catch(() => {});
}

// --- acting -------------------------------------------------------------------------------------------------------------------

function notice(words, kind = "") {
  const line = h("div", { class: `notice ${kind}` }, words);
  page.notices.append(line);
  while (page.notices.children.length > 3) page.notices.firstChild.remove();
  setTimeout(() => line.remove(), kind ? 10_000 : 5000);
}

/** Whether somebody is there to act: logged in, or named where there are no accounts. */
async function somebody() {
  const people = desk.about?.people;
  if (people?.open) return named();
  if (desk.user) return {};
  if (!people?.count) {
    notice(t(people?.issued_ns === null ? "people.none" : "people.empty"), "bad");
    return null;
  }
  return (await login()) ? {} : null;
}

/** Asked at each act: the one who stands here now need not be the one who acted before. */
async function named() {
  const field = h("input", { type: "text", required: true, maxlength: 64, value: sessionStorage.getItem("pharmedge.user") ?? "", autocomplete: "off" });
  const done = await ask(t("name"), [h("label", null, t("name"), field)], t("ack"), async () => sessionStorage.setItem("pharmedge.user", field.value.trim()), field);
  return done ? { user: field.value.trim() } : null;
}

async function send(kind, rows, more = {}) {
  const open = rows.filter((row) => !desk.waiting(row.occurrence));
  const who = open.length ? await somebody() : null;
  if (!who) return false;
  try {
    await desk.act(kind, open, { ...who, ...more });
    return true;
  } catch (error) {
    notice(t("refused", { what: title(open[0]), why: said(error.message) }), "bad");
    if (error.status === 401) desk.session().catch(() => {});
    return false;
  }
}

const acknowledge = (rows) => send("acknowledge", rows);

async function shelve(row) {
  const minutes = h("select", null, SHELVE_MIN.map((n) => h("option", { value: String(n * 60) }, t("shelve.min", { n }))));
  const once = h("input", { type: "checkbox" });
  const reason = h("input", { type: "text", required: true, maxlength: 500, autocomplete: "off" });
  const second = h("input", { type: "checkbox" });
  const name = h("input", { type: "text", maxlength: 64, autocomplete: "off", autocapitalize: "none" });
  const password = h("input", { type: "password", maxlength: 1024, autocomplete: "off" });
  const agree = h("div", { hidden: true }, h("label", null, t("second.name"), name), h("label", null, t("second.password"), password));
  second.addEventListener("change", () => { agree.hidden = !second.checked; name.required = password.required = second.checked; });
  const who = await somebody();
  if (!who) return;
  await ask(`${t("shelve.title")}: ${title(row)}`, [
    h("label", null, t("shelve.for"), minutes), h("label", { class: "check" }, once, t("shelve.oneshot")), h("label", null, t("shelve.reason"), reason),
    desk.about.people.open ? null : h("label", { class: "check" }, second, t("shelve.second")), agree,
  ], t("shelve.title"), () => desk.act("shelve", [row], {
    ...who, reason: reason.value.trim(), duration_s: Number(minutes.value), one_shot: once.checked,
    ...(second.checked ? { second: { user: name.value.trim(), password: password.value } } : {}),
  }), reason);
}

/** A small form; stays open and says why while the act is refused. */
function ask(heading, fields, go, act, first) {
  return new Promise((resolve) => {
    let done = false;
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const dialog = h("dialog", { "aria-label": heading }, h("form", {
      onsubmit: async (event) => {
        event.preventDefault();
        try {
          await act();
          done = true;
          dialog.close();
        } catch (error) {
          text(wrong, said(error.message));
          wrong.hidden = false;
          for (const secret of dialog.querySelectorAll("input[type=password]")) secret.value = "";
        }
      },
    }, h("h2", null, heading), fields, wrong,
    h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")), h("button", { type: "submit", class: "primary" }, go))));
    dialog.addEventListener("close", () => { dialog.remove(); resolve(done); });
    document.body.append(dialog);
    dialog.showModal();
    first?.focus();
  });
}

function login() {
  const name = h("input", { type: "text", required: true, maxlength: 64, autocomplete: "off", autocapitalize: "none" });
  const password = h("input", { type: "password", required: true, maxlength: 1024, autocomplete: "off" });
  return ask(t("login"), [h("p", { class: "quiet" }, t("login.why")), h("label", null, t("name"), name), h("label", null, t("password"), password)], t("login"),
    () => desk.session("POST", { user: name.value.trim(), password: password.value }), name);
}

function person() {
  if (desk.user) desk.session("DELETE").catch((error) => notice(said(error.message), "bad"));
  else login();
}

function theme() {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("pharmedge.theme", root.dataset.theme);
}

function keys(event) {
  if (event.target.matches("input, select") || document.querySelector("dialog[open]") || event.ctrlKey || event.metaKey || event.altKey) return;
  const shown = order.map((id) => desk.rows.get(id)).filter(Boolean);
  const at = shown.findIndex((row) => row.occurrence === chosen);
  const row = facingRow(shown);
  // What came under the finger a moment ago was not read.
  const read = row && (row.occurrence === chosen || (row.occurrence === facing.occurrence && performance.now() - facing.since >= READ_MS));
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && shown.length) {
    chosen = shown[Math.max(0, Math.min(shown.length - 1, at + step))].occurrence;
    draw();
    nodes.get(chosen)?.focus();
  } else if (event.key === "a" && read && unacknowledged(row)) acknowledge([row]);
  else if (event.key === "s" && read && !row.suppressed) shelve(row);
  else if (event.key === "l" && !page.person.hidden) person();
  else return;
  event.preventDefault();
}

async function start() {
  document.documentElement.dataset.theme = localStorage.getItem("pharmedge.theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  await speak(preferred());
  build();
  desk.addEventListener("about", () => { about(); desk.session().catch(() => {}); draw(); });
  desk.addEventListener("alarms", () => { arrange(); horn.listen([...desk.rows.values()]); });
  desk.addEventListener("beat", () => horn.listen([...desk.rows.values()]));
  desk.addEventListener("live", () => draw());
  desk.addEventListener("session", (event) => {
    const { before } = event.detail;
    if (before && !desk.user) notice(t("session.over"));
    if (!before && desk.user) notice(t("welcome", { name: desk.user.full_name }));
    draw();
  });
  desk.addEventListener("outcome", (event) => {
    const { kind, row, event: what, reason } = event.detail;
    if (what === "refuse") notice(t("refused", { what: title(row), why: said(reason) }), "bad");
    else notice(t(`done.${kind}`, { what: title(row) }));
  });
  for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { used = true; }, { passive: true, capture: true });
  addEventListener("keydown", keys);
  setInterval(() => arrange(), 1000);
  setInterval(() => {
    if (desk.user) desk.session(used ? "TOUCH" : "GET").catch(() => {});
    used = false;
  }, 20_000);
  desk.watch();
  desk.open();
  draw();
}

start();
