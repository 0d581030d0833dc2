// What people ask of alarms: one key where nothing has to be asked, a small form where something has, and always a word about what became of it.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { get, laid, plant, unacknowledged } from "./plant.js";
import { alarmTitle } from "./marks.js";
import { notice } from "./notice.js";
import { said } from "./said.js";
import { ask, session, signature } from "./session.js";

const NAME = "pharmedge.user";
const ROLE = "pharmedge.role";
const ROLES = ["operator", "shift_lead", "maintenance", "engineer"];
const AGREEING = ["shift_lead", "engineer", "quality"];
const CHUNK = 500;
const MINUTES = [10, 30, 60, 240, 480];

const KINDS = {
  acknowledge: { path: "ack", right: "acknowledge", fits: unacknowledged },
  reset: { path: "reset", right: "acknowledge", fits: (row) => row.state === "LATACK" },
  comment: { path: "comment", right: "acknowledge", fits: () => true, reason: true },
  shelve: { path: "shelve", right: "shelve", fits: (row) => !laid(row, "shelved"), reason: true, role: true },
  unshelve: { path: "unshelve", right: "acknowledge", fits: (row) => laid(row, "shelved"), role: true },
  out_of_service: { path: "out-of-service", right: "out_of_service", fits: (row) => !laid(row, "out_of_service"), reason: true, role: true },
  in_service: { path: "in-service", right: "out_of_service", fits: (row) => laid(row, "out_of_service"), reason: true, role: true },
};

/** Occurrence to what was asked from here and not answered yet. */
const pending = new Map();

/** Whether an action on this alarm is under way, here or at another desk. */
export function waiting(row) {
  return pending.has(row.occurrence) || row.pending?.length > 0;
}

/** Who is waiting for what, in words. */
export function waitingWords(row) {
  const [first] = row.pending ?? [];
  return first ? t("act.waiting", { what: t(`act.is.${first.kind}`), user: first.user }) : t("ack.waiting");
}

export function fits(kind, row) {
  return KINDS[kind].fits(row) && !pending.has(row.occurrence) && !row.pending?.some((one) => one.kind === kind);
}

export function allowed(kind) {
  return !session.user || session.may(KINDS[kind].right);
}

export function acknowledge(rows, options) {
  return act("acknowledge", rows, options);
}

/** Ask the edges for `kind` on all rows that it fits; `comment`: ask for words in any case. */
export async function act(kind, rows, { comment = false } = {}) {
  const { right, reason, role } = KINDS[kind];
  // What is asked for is about the alarms as they are now, not as they were last drawn.
  const open = rows.map((row) => plant.alarms.get(row.occurrence) ?? row).filter((row) => fits(kind, row));
  if (!open.length) {
    notice(t(kind === "acknowledge" ? "ack.nothing" : "act.nothing", { what: t(`act.is.${kind}`) }));
    return;
  }
  // The session says who; the alarm waits while somebody logs in.
  if (!session.open && !session.user && !(await session.login())) return;
  if (!session.may(right)) {
    notice(t("session.mayNot", { role: t(`role.is.${session.user.role}`), what: t(`act.is.${kind}`) }), "bad");
    return;
  }
  const user = session.open ? localStorage.getItem(NAME) || "" : undefined;
  const ready = session.open ? user && !role : !session.signs(right);
  if (ready && !reason && !comment && (open.length === 1 || kind !== "acknowledge")) send(kind, open, { user });
  else form(kind, open, user);
}

/** What a shelving needs by the rules of the edges: the longest time and who has to agree; nothing where they have not told. */
function terms(rows) {
  const told = rows.map((row) => row.shelve).filter(Boolean);
  const second = [...new Set(told.flatMap((one) => one.second_roles))];
  return { max: told.length ? Math.min(...told.map((one) => one.max_s)) : 28_800, second, roles: told.length ? told[0].roles : [] };
}

function input(name, attributes) {
  return h("input", { type: "text", name, maxlength: 500, autocomplete: "off", ...attributes });
}

function roleChoice(name, roles, kept) {
  return h("select", { name }, roles.map((role) => h("option", { value: role, selected: role === kept }, t(`role.is.${role}`))));
}

function form(kind, rows, user) {
  const spec = KINDS[kind];
  const fields = [];
  const read = [];
  const field = (label, node, take) => {
    fields.push(h("label", null, label, node));
    read.push(take);
    return node;
  };
  let first = null;
  if (!session.user) {
    const name = field(t("ack.user"), input("user", { required: true, maxlength: 64, value: user ?? "", autocomplete: "username" }), () => ({ user: name.value.trim() }));
    if (!name.value) first = name;
    if (spec.role) {
      const role = field(t("act.role"), roleChoice("role", ROLES, localStorage.getItem(ROLE)), () => ({ role: role.value }));
    }
  }
  const { max, second, roles } = terms(rows);
  if (kind === "shelve") fields.push(...duration(max, read));
  if (kind === "out_of_service") {
    const permit = field(t("act.permit"), input("permit", { required: true, maxlength: 64 }), () => ({ permit: permit.value.trim() }));
    first ??= permit;
  }
  const reason = field(t(spec.reason ? "act.reason" : "ack.comment"), input("reason", { required: Boolean(spec.reason) }), () => ({ reason: reason.value.trim() }));
  first ??= reason;
  if (kind === "shelve" && second.length) {
    fields.push(h("p", { class: "quiet" }, t("act.second", { roles: second.map((role) => t(`role.is.${role}`)).join(" / ") })));
    const other = input("second", { required: true, maxlength: 64, autocomplete: "off" });
    const proof = session.user
      ? h("input", { type: "password", name: "second-password", required: true, maxlength: 1024, autocomplete: "off" })
      : roleChoice("second-role", AGREEING.filter((role) => second.includes(role)), second[0]);
    field(t("act.secondName"), other, () => ({ second: { user: other.value.trim(), ...(session.user ? { password: proof.value } : { role: proof.value }) } }));
    fields.push(h("label", null, t(session.user ? "session.password" : "act.role"), proof));
  }
  if (session.user && spec.role && kind === "shelve" && roles.length && !roles.includes(session.user.role)) {
    fields.unshift(h("p", { class: "wrong" }, t("act.rolesOnly", { roles: roles.map((role) => t(`role.is.${role}`)).join(" / ") })));
  }
  const signed = session.signs(spec.right) ? signature(t(kind === "acknowledge" ? "sign.acknowledged" : "sign.decided")) : null;
  if (signed) {
    fields.push(...signed.fields);
    if (!spec.reason) first = signed.password;
    read.push(() => ({ signature: signed.value() }));
  }
  return ask({
    title: t(`act.title.${kind}`), go: t(`act.title.${kind}`), first,
    fields: [h("p", null, rows.length === 1 ? alarmTitle(rows[0]) : t("ack.many", { n: rows.length })), ...fields],
    act: async () => {
      const body = Object.assign({}, ...read.map((take) => take()));
      if (body.user) localStorage.setItem(NAME, body.user);
      if (body.role) localStorage.setItem(ROLE, body.role);
      // A wrong password or a missing second person keeps the form open; everything else is told beside the alarms.
      await send(kind, rows, body, { strict: rows.length === 1 });
    },
  });
}

function duration(max, read) {
  const most = Math.floor(max / 60);
  const minutes = h("input", { type: "number", name: "minutes", min: 1, max: most, step: 1, required: true, value: String(Math.min(30, most)) });
  const once = h("input", { type: "checkbox", name: "one-shot" });
  read.push(() => ({ duration_s: Number(minutes.value) * 60, one_shot: once.checked }));
  const quick = MINUTES.filter((m) => m <= most).map((m) => h("button", { type: "button", onclick: () => { minutes.value = String(m); minutes.focus(); } }, t("act.minutes", { n: m })));
  return [h("label", null, t("act.duration", { n: most }), minutes), h("div", { class: "buttons" }, quick), h("label", { class: "check" }, once, t("act.oneShot"))];
}

/** An alarm that is over is shelved as one that does not stand. */
function subject(kind, row) {
  return row.state === "NORM" && (kind === "shelve" || kind === "out_of_service") ? `${row.edge}~${row.alarm}~0` : row.occurrence;
}

async function send(kind, rows, body, { strict = false } = {}) {
  const refusals = [];
  const batch = { kind, left: new Set(), n: 0, user: "" };
  for (const row of rows) pending.set(row.occurrence, { batch, row, action: null });
  const took = (row, action) => {
    const entry = pending.get(row.occurrence);
    if (!entry) return;
    entry.action = action;
    batch.left.add(row.occurrence);
    batch.n += 1;
    const now = plant.alarms.get(row.occurrence);
    if (now) answered([now]);
  };
  const refused = (row, why) => {
    pending.delete(row.occurrence);
    refusals.push(`${alarmTitle(row)}: ${why}`);
  };
  plant.dispatchEvent(new Event("pending"));
  try {
    if (kind === "acknowledge" && rows.length > 1) await sendMany(rows, body, took, refused);
    else {
      for (const row of rows) {
        try {
          took(row, (await session.send(`alarms/${encodeURIComponent(subject(kind, row))}/${KINDS[kind].path}`, "POST", body)).action_id);
        } catch (error) {
          refused(row, error.message);
          if (strict) throw error;
        }
      }
    }
  } finally {
    if (batch.n) notice(batch.n === 1 ? t("ack.sent", { what: alarmTitle(rows[0]) }) : t("act.sentMany", { n: batch.n }));
    if (refusals.length && !session.open) session.load();
    if (refusals.length && !strict) notice(t(`act.refused.${kind}`, { why: refusals[0] + (refusals.length > 1 ? ` (+${refusals.length - 1})` : "") }), "bad");
    plant.dispatchEvent(new Event("pending"));
  }
}

/** One request for many: exactly those that were on the screen. */
async function sendMany(rows, body, took, refused) {
  for (let at = 0; at < rows.length; at += CHUNK) {
    const some = new Map(rows.slice(at, at + CHUNK).map((row) => [row.occurrence, row]));
    try {
      const { results } = await session.send("alarms/ack", "POST", { ...body, occurrences: [...some.keys()] });
      for (const { occurrence, action_id, state, detail } of results) {
        if (state === "sent") took(some.get(occurrence), action_id);
        else refused(some.get(occurrence), detail);
      }
    } catch (error) {
      for (const row of some.values()) refused(row, error.message);
    }
  }
}

function settle(occurrence, entry, row, event) {
  pending.delete(occurrence);
  const { batch } = entry;
  batch.left.delete(occurrence);
  if (event.event === "refuse") notice(t(`act.refused.${batch.kind}`, { why: `${alarmTitle(row)}: ${said(event.reason || event.explanation)}` }), "bad");
  else if (!batch.left.size) notice(batch.n > 1 ? t("act.doneMany", { n: batch.n, what: t(`act.is.${batch.kind}`) }) : t(`act.done.${batch.kind}`, { what: alarmTitle(row), user: event.user }));
}

/** The edge has said what became of something. */
function answered(rows) {
  if (!pending.size) return;
  for (const row of rows) {
    const mine = row.events.filter((event) => event.action_id);
    if (!mine.length) continue;
    for (const [occurrence, entry] of pending) {
      const event = entry.action && mine.findLast((one) => one.action_id === entry.action);
      if (event) settle(occurrence, entry, row, event);
    }
  }
}

plant.addEventListener("alarms", (event) => answered(event.detail));

// An answer that came while the stream was away is asked for.
plant.addEventListener("tags", async () => {
  for (const [occurrence, entry] of [...pending]) {
    if (!entry.action) continue;
    try {
      const found = await get(`api/v1/actions/${entry.action}`);
      if (found.state !== "pending" && pending.has(occurrence)) settle(occurrence, entry, entry.row, { event: found.state === "refused" ? "refuse" : "", reason: found.reason, user: found.user });
    } catch {
      // The next picture asks again.
    }
  }
  plant.dispatchEvent(new Event("pending"));
});
