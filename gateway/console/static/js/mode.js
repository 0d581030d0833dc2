// The mode of a unit: what its edge says, and the dialog with which a person sets it with reason and end, or withdraws it.

import { attribute, h, text } from "./dom.js";
import { clock } from "./format.js";
import { has, t } from "./i18n.js";
import { MS, plant } from "./plant.js";
import { notice } from "./notice.js";
import { said } from "./said.js";
import { ask, session, signature } from "./session.js";

const MODES = ["cleaning", "maintenance", "calibration", "production"];
const ROLES = ["shift_lead", "maintenance", "engineer"];
const HOURS = [0.5, 1, 2, 4, 8, 12];

export function unitPath(tag) {
  return tag.path || tag.name.slice(0, Math.max(0, tag.name.lastIndexOf("/")));
}

/** The word of a mode. */
export function modeWord(mode) {
  const name = mode.trim().toLowerCase();
  return has(`mode.is.${name}`) ? t(`mode.is.${name}`) : mode;
}

/** A button that says the mode of a unit and asks for another one. */
export class ModeButton {
  constructor(edge, unit, name) {
    this.edge = edge;
    this.unit = unit;
    this.node = h("button", { type: "button", class: "mode-button", onclick: () => dialog(edge, unit, name, this.row()) });
  }

  row() {
    return plant.edges.get(this.edge)?.units?.find((row) => row.unit === this.unit) ?? null;
  }

  refresh() {
    const row = this.row();
    this.node.hidden = !row;
    if (!row) return;
    const until = row.user && row.until_ns ? ` ${t("mode.until", { time: clock(row.until_ns / MS) })}` : "";
    const asked = row.asked === null ? "" : ` (${t("mode.asked", { mode: row.asked ? modeWord(row.asked) : t("mode.withdraw") })})`;
    text(this.node, modeWord(row.mode) + until + asked);
    attribute(this.node, "title", row.user ? `${row.user}: ${row.reason}` : t("mode.set"));
    attribute(this.node, "data-mode", row.mode.trim().toLowerCase());
  }
}

async function dialog(edge, unit, name, row) {
  if (!session.open && !session.user && !(await session.login())) return;
  if (!session.may("set_mode")) {
    notice(t("session.mayNot", { role: t(`role.is.${session.user.role}`), what: t("mode.set") }), "bad");
    return;
  }
  const mode = h("select", { name: "mode" }, MODES.map((m) => h("option", { value: m }, t(`mode.is.${m}`))), row?.user ? h("option", { value: "" }, t("mode.withdraw")) : null);
  const hours = h("select", { name: "hours" }, HOURS.map((n) => h("option", { value: n, selected: n === 1 }, t("mode.hours", { n }))));
  const reason = h("input", { type: "text", name: "reason", required: true, maxlength: 500, autocomplete: "off" });
  const user = session.open ? h("input", { type: "text", name: "user", required: true, maxlength: 64, value: localStorage.getItem("pharmedge.user") ?? "", autocomplete: "username" }) : null;
  const role = session.open ? h("select", { name: "role" }, ROLES.map((r) => h("option", { value: r }, t(`role.is.${r}`)))) : null;
  const signed = session.signs("set_mode") ? signature(t("mode.set")) : null;
  const duration = h("label", null, t("mode.for"), hours);
  mode.addEventListener("change", () => { duration.hidden = mode.value === ""; });
  await ask({
    title: `${t("mode.set")}: ${name}`, go: t("mode.do"), first: mode,
    fields: [h("p", { class: "quiet" }, t("mode.what")), h("label", null, t("role.mode"), mode), duration, h("label", null, t("mode.reason"), reason),
      user ? h("label", null, t("ack.user"), user) : null, role ? h("label", null, t("act.role"), role) : null, signed?.fields],
    act: async () => {
      const who = session.open ? { user: user.value.trim(), role: role.value } : {};
      const body = { reason: reason.value.trim(), signature: signed?.value(), ...who };
      const at = `units/${encodeURIComponent(edge)}/${unit.split("/").map(encodeURIComponent).join("/")}/mode`;
      const until = new Date(plant.now() + Number(hours.value) * 3_600_000).toISOString();
      const answer = mode.value ? await session.send(at, "POST", { ...body, mode: mode.value, until }) : await session.send(`${at}/withdraw`, "POST", body);
      notice(t("mode.sent"));
      follow(answer.action_id);
    },
  });
}

/** Says when the edge refused; what it did is seen on the page. */
async function follow(action, tries = 30) {
  const answer = await fetch(`api/v1/actions/${encodeURIComponent(action)}`).then((r) => (r.ok ? r.json() : null)).catch(() => null);
  if (answer?.state === "refused") notice(t("mode.refused", { why: said(answer.reason) }), "bad");
  else if (answer?.state === "pending" && tries) setTimeout(() => follow(action, tries - 1), 2000);
}
