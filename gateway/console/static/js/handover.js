// Shift handover: what stands, is shelved, suppressed or out of service is handed over with notes, and taken over item by item.

import { h, text } from "./dom.js";
import { plain, span, stamp, utc } from "./format.js";
import { t } from "./i18n.js";
import { mark } from "./marks.js";
import { get, MS, plant } from "./plant.js";
import { notice } from "./notice.js";
import { link } from "./route.js";
import { ask, session, signature } from "./session.js";
import { field, input, sheet } from "./sheet.js";
import { said } from "./said.js";

/** Children that are there. */
const only = (...nodes) => nodes.filter(Boolean);
const KINDS = ["standing", "shelved", "suppressed", "out_of_service"];
const PERIOD_MS = 5000;

export function handover(root) {
  let found = null;
  let closed = false;
  let last = 0;
  let drawn = "";
  const overdue = h("p", { class: "trouble", role: "status", hidden: true });
  const now = h("section", { class: "panel" });
  const past = h("section", { class: "panel" });
  const empty = h("p", { class: "empty" });
  root.append(h("div", { class: "office-page" }, overdue, empty, now, past));

  async function load() {
    last = Date.now();
    try {
      const answer = await get("api/v1/handovers");
      if (closed) return;
      found = answer;
      empty.hidden = true;
      draw();
    } catch (error) {
      if (closed) return;
      empty.hidden = false;
      text(empty, error.message);
    }
  }

  const person = (name, printed) => (printed && printed !== name ? `${printed} (${name})` : name);
  const items = (list, extra = []) => sheet([
    ...extra, [t("alarm.priority"), (i) => mark(i)], [t("handover.kind"), (i) => t(`handover.is.${i.kind}`)],
    [t("alarm.what"), (i) => h("a", { href: link("alarms", { view: "history", q: i.alarm }) }, i.alarm)], [t("change.edge"), (i) => i.edge],
    [t("alarm.since"), (i) => h("span", { title: utc(i.raised_ns / MS) }, stamp(i.raised_ns / MS))], [t("handover.acked"), (i) => i.acked_by || "—"], [t("alarm.why"), (i) => said(i.explanation)],
  ], list, { mark: (i) => ({ "data-item": i.occurrence }) });
  const counts = (list) => KINDS.map((kind) => `${t(`handover.is.${kind}`)} ${plain(list.filter((i) => i.kind === kind).length)}`).join(" · ");

  function draw() {
    const late = found.overdue_ns;
    overdue.hidden = late === null;
    if (late !== null) text(overdue, t("handover.overdue", { age: span((plant.now() - late / MS) / 1000) }));
    const waiting = found.handovers.find((x) => x.state === "offered");
    // What somebody is ticking off is not drawn anew under their hands.
    const key = JSON.stringify([waiting?.id ?? found.now.map((i) => [i.occurrence, i.state]), session.user?.name, found.handovers.length, found.handovers[0]?.state]);
    if (key === drawn) return;
    drawn = key;
    if (waiting) drawWaiting(waiting);
    else drawNow();
    past.replaceChildren(h("h2", null, t("handover.history")), found.handovers.length ? h("div", null, found.handovers.map(entry)) : h("p", { class: "quiet" }, t("handover.never")));
  }

  function drawNow() {
    const may = session.user && session.may("hand_over");
    now.replaceChildren(h("header", null, h("h2", null, t("handover.now")), h("span", { class: "count" }, counts(found.now)), h("span", { class: "push" }),
      may ? h("button", { type: "button", class: "primary", onclick: offer }, t("handover.offer")) : h("span", { class: "quiet" }, t("handover.login"))),
    found.now.length ? h("div", { class: "scroll-x" }, items(found.now)) : h("p", { class: "quiet" }, t("handover.nothing")));
  }

  function drawWaiting(x) {
    const own = x.offered_by === session.user?.name;
    const may = session.user && session.may("hand_over") && !own;
    const seen = new Set();
    const take = h("button", { type: "button", class: "primary", disabled: x.items.length > 0, onclick: () => accept(x) }, t("handover.accept"));
    const tick = (i) => h("input", { type: "checkbox", "aria-label": t("handover.tick", { alarm: i.alarm }), onchange: (event) => { seen[event.target.checked ? "add" : "delete"](i.occurrence); take.disabled = seen.size < x.items.length; } });
    const changed = found.now.filter((i) => !x.items.some((o) => o.occurrence === i.occurrence));
    now.replaceChildren(...only(h("header", null, h("h2", null, t("handover.waiting", { name: person(x.offered_by, x.offered_name), time: stamp(x.offered_ns / MS) })), h("span", { class: "count" }, counts(x.items)), h("span", { class: "push" }),
      own ? h("button", { type: "button", onclick: () => withdraw(x) }, t("handover.withdraw")) : null, may ? take : null),
    x.notes ? h("blockquote", { class: "notes" }, x.notes) : h("p", { class: "quiet" }, t("handover.noNotes")),
    may && x.items.length ? h("p", { class: "quiet" }, t("handover.each")) : null,
    x.items.length ? h("div", { class: "scroll-x" }, items(x.items, may ? [[t("handover.taken"), tick]] : [])) : h("p", { class: "quiet" }, t("handover.nothing")),
    changed.length ? h("p", { class: "trouble" }, t("handover.since", { n: changed.length })) : null));
  }

  function entry(x) {
    const words = x.state === "accepted"
      ? t("handover.done", { from: person(x.offered_by, x.offered_name), to: person(x.accepted_by, x.accepted_name), time: stamp(x.accepted_ns / MS) })
      : t(`handover.state.${x.state}`, { from: person(x.offered_by, x.offered_name), time: stamp(x.offered_ns / MS) });
    return h("details", { "data-handover": x.id }, h("summary", null, h("b", null, `${x.id} `), words, h("span", { class: "quiet" }, ` · ${counts(x.items)}`)),
      x.notes ? h("blockquote", { class: "notes" }, x.notes) : null, x.remark ? h("p", null, `${t("handover.remark")}: ${x.remark}`) : null,
      x.meaning ? h("p", null, h("i", null, t("audit.meaning", { name: x.accepted_name, meaning: x.meaning }))) : null,
      x.items.length ? h("div", { class: "scroll-x" }, items(x.items)) : null, h("p", { class: "quiet" }, h("code", null, x.digest)));
  }

  async function offer() {
    const notes = h("textarea", { rows: 5, maxlength: 4000 });
    const done = await ask({ title: t("handover.offer"), go: t("handover.offer"), first: notes, fields: [h("p", null, counts(found.now)), field(t("handover.notes"), notes)], act: () => session.send("handovers", "POST", { notes: notes.value.trim() }) });
    if (done) load();
  }

  async function accept(x) {
    const remark = input({});
    const signed = session.signs("hand_over") ? signature(t("sign.taken")) : null;
    const done = await ask({
      title: t("handover.accept"), go: t("handover.accept"), first: signed?.password ?? remark, fields: [h("p", null, counts(x.items)), field(t("handover.remark"), remark), ...(signed?.fields ?? [])],
      act: () => session.send(`handovers/${x.id}/accept`, "POST", { digest: x.digest, remark: remark.value.trim(), ...(signed ? { signature: signed.value() } : {}) }),
    });
    if (done) { notice(t("handover.thanks")); load(); }
  }

  async function withdraw(x) {
    try {
      await session.send(`handovers/${x.id}/withdraw`, "POST");
      load();
    } catch (error) {
      notice(error.message);
    }
  }

  const again = () => { drawn = ""; load(); };
  session.addEventListener("change", again);
  load();
  return {
    refresh: () => { if (Date.now() - last > PERIOD_MS && plant.live) load(); },
    close: () => { closed = true; session.removeEventListener("change", again); },
  };
}
