// Acknowledging: one key when the name is known, a comment where wished, and always a word about what became of it.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { plant, unacknowledged } from "./plant.js";
import { alarmTitle } from "./marks.js";
import { notice } from "./notice.js";
import { session, signature } from "./session.js";

const NAME = "pharmedge.user";
const pending = new Map();

export function waiting(occurrence) {
  return pending.has(occurrence);
}

/** Ask for all acknowledgeable rows; the name is asked for once, the comment when `comment` is true or there are many. */
export async function acknowledge(rows, { comment = false } = {}) {
  const open = rows.filter((row) => unacknowledged(row) && !pending.has(row.occurrence));
  if (!open.length) {
    notice(t("ack.nothing"));
    return;
  }
  if (!session.open) {
    // The session says who; the alarm waits while somebody logs in.
    if (!session.user && !(await session.login())) return;
    if (!session.may("acknowledge")) notice(t("session.mayNot", { role: t(`role.is.${session.user.role}`) }), "bad");
    else if (open.length === 1 && !comment && !session.signs("acknowledge")) send(open, undefined, "");
    else ask(open, undefined);
    return;
  }
  const user = localStorage.getItem(NAME) || "";
  if (user && open.length === 1 && !comment) send(open, user, "");
  else ask(open, user);
}

function ask(rows, user) {
  const signed = session.signs("acknowledge") ? signature(t("sign.acknowledged")) : null;
  const name = session.user ? null : h("input", { type: "text", name: "user", required: true, maxlength: 64, value: user, autocomplete: "username" });
  const reason = h("input", { type: "text", name: "reason", maxlength: 500, autocomplete: "off" });
  const what = rows.length === 1 ? alarmTitle(rows[0]) : t("ack.many", { n: rows.length });
  const dialog = h("dialog", { class: "ask", "aria-label": t("ack.title") },
    h("form", {
      onsubmit: (event) => {
        event.preventDefault();
        const said = name ? name.value.trim() : undefined;
        if (name && !said) return;
        if (name) localStorage.setItem(NAME, said);
        dialog.close();
        send(rows, said, reason.value.trim(), signed?.value());
      },
    },
    h("h2", null, t("ack.title")), h("p", null, what),
    name ? h("label", null, t("ack.user"), name) : null, h("label", null, t("ack.comment"), reason), signed?.fields,
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")), h("button", { type: "submit", class: "primary" }, t("ack.do")))));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  (name && !user ? name : signed ? signed.password : reason).focus();
}

async function send(rows, user, reason, signature) {
  const queue = [...rows];
  const refusals = [];
  let sent = 0;
  async function worker() {
    for (let row = queue.shift(); row; row = queue.shift()) {
      try {
        pending.set(row.occurrence, { action: null, since: plant.now() });
        const answer = await session.send(`alarms/${encodeURIComponent(row.occurrence)}/ack`, "POST", { user, reason, signature });
        const entry = pending.get(row.occurrence);
        if (entry) entry.action = answer.action_id;
        sent += 1;
      } catch (error) {
        pending.delete(row.occurrence);
        refusals.push(`${alarmTitle(row)}: ${error.message}`);
      }
    }
  }
  plant.dispatchEvent(new Event("pending"));
  await Promise.all(Array.from({ length: Math.min(6, rows.length) }, worker));
  if (sent) notice(sent === 1 ? t("ack.sent", { what: alarmTitle(rows[0]) }) : t("ack.sentMany", { n: sent }));
  if (refusals.length && !session.open) session.load();
  if (refusals.length) notice(t("ack.refused", { why: refusals[0] + (refusals.length > 1 ? ` (+${refusals.length - 1})` : "") }), "bad");
  plant.dispatchEvent(new Event("pending"));
}

plant.addEventListener("alarms", (event) => {
  for (const row of event.detail) {
    const entry = pending.get(row.occurrence);
    if (!entry) continue;
    const refused = row.events.findLast?.((e) => e.event === "refuse" && e.action_id && e.action_id === entry.action);
    if (refused) notice(t("ack.refused", { why: `${alarmTitle(row)}: ${refused.reason || refused.explanation}` }), "bad");
    if (refused || !unacknowledged(row)) pending.delete(row.occurrence);
    if (!refused && !unacknowledged(row) && pending.size === 0) notice(t("ack.done", { what: alarmTitle(row), user: row.acked_by }));
  }
});
