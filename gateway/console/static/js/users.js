// Accounts: who may log in with which role, and who is logged in. Only the role security_admin sees and changes them.

import { h, text } from "./dom.js";
import { plain, stamp } from "./format.js";
import { t } from "./i18n.js";
import { get, MS } from "./plant.js";
import { notice } from "./notice.js";
import { ask, session } from "./session.js";
import { choice, field, input, sheet } from "./sheet.js";

export function users(root) {
  let found = null;
  let closed = false;
  const count = h("span", { class: "count", role: "status" });
  const add = h("button", { type: "button", class: "primary", onclick: make }, t("users.add"));
  const people = h("div", { class: "scroll-x" });
  const logins = h("div", { class: "scroll-x" });
  const roles = h("div", { class: "scroll-x" });
  const empty = h("p", { class: "empty" });
  const login = h("p", { class: "empty" }, h("button", { type: "button", class: "primary", onclick: () => session.login() }, t("session.login")));
  const parts = [h("section", { class: "panel" }, h("header", null, h("h2", null, t("page.users")), count, h("span", { class: "push" }), add), people),
    h("section", { class: "panel" }, h("h2", null, t("users.sessions")), logins),
    h("section", { class: "panel" }, h("h2", null, t("users.roles")), roles, h("p", { class: "quiet" }, t("users.three")))];
  root.append(h("div", { class: "office-page" }, empty, login, parts));

  const roleWord = (role) => t(`role.is.${role}`);
  const roleOptions = () => Object.keys(found.roles).map((role) => [role, roleWord(role)]);
  const small = (word, act) => h("button", { type: "button", class: "small", onclick: act }, word);

  function change(row, word, fields, act) {
    const reason = input({ required: true });
    return ask({
      title: `${word}: ${row.full_name}`, go: word, first: fields[0]?.querySelector("input, select") ?? reason,
      fields: [...fields, field(t("users.reason"), reason)],
      act: async () => { await act(reason.value.trim()); notice(t("users.done", { name: row.full_name })); load(); },
    });
  }

  function other(row) {
    const role = choice(roleOptions(), row.role);
    change(row, t("users.role"), [field(t("users.role"), role)], (reason) => session.send(`users/${row.name}/role`, "POST", { role: role.value, reason }));
  }

  function reset(row) {
    const secret = h("input", { type: "password", required: true, minlength: 10, maxlength: 1024, autocomplete: "new-password" });
    change(row, t("users.password"), [field(t("session.new"), secret)], (reason) => session.send(`users/${row.name}/password`, "POST", { password: secret.value, reason }));
  }

  function able(row) {
    change(row, t(row.disabled ? "users.enable" : "users.disable"), [], (reason) => session.send(`users/${row.name}/disabled`, "POST", { disabled: !row.disabled, reason }));
  }

  function make() {
    const name = input({ required: true, maxlength: 32, pattern: "[a-z0-9][a-z0-9._\\-]*", autocapitalize: "none" });
    const full = input({ required: true, maxlength: 64 });
    const role = choice(roleOptions(), "operator");
    const secret = h("input", { type: "password", required: true, minlength: 10, maxlength: 1024, autocomplete: "new-password" });
    const reason = input({});
    ask({
      title: t("users.add"), go: t("users.add"), first: name,
      fields: [field(t("users.name"), name), field(t("users.full"), full), field(t("users.role"), role), field(t("session.new"), secret), field(t("users.reason"), reason)],
      act: async () => {
        await session.send("users", "POST", { name: name.value.trim(), full_name: full.value.trim(), role: role.value, password: secret.value, reason: reason.value.trim() });
        notice(t("users.done", { name: full.value.trim() }));
        load();
      },
    });
  }

  async function end(row) {
    try {
      await session.send(`sessions/${row.id}`, "DELETE");
      load();
    } catch (error) {
      notice(error.message);
    }
  }

  async function load() {
    let trouble = "";
    if (session.open) trouble = t("session.noAccounts");
    else if (!session.user) trouble = t("users.login");
    else {
      try {
        const answer = await get("api/v1/users");
        if (closed) return;
        found = answer;
      } catch (error) {
        trouble = error.message;
      }
    }
    if (closed) return;
    text(empty, trouble);
    empty.hidden = !trouble;
    login.hidden = session.open || Boolean(session.user);
    for (const part of parts) part.hidden = Boolean(trouble);
    if (!trouble) draw();
  }

  function draw() {
    text(count, plain(found.users.length));
    people.replaceChildren(sheet([
      [t("users.name"), (u) => u.name], [t("users.full"), (u) => u.full_name], [t("users.role"), (u) => roleWord(u.role)],
      [t("users.state"), (u) => t(u.disabled ? "users.off" : "users.on")], [t("users.changed"), (u) => stamp(u.changed_ns / MS)],
      [t("users.do"), (u) => u.name === session.user?.name ? h("span", { class: "quiet" }, t("users.own")) : h("div", { class: "acts" }, small(t("users.role"), () => other(u)), small(t("users.password"), () => reset(u)), small(t(u.disabled ? "users.enable" : "users.disable"), () => able(u)))],
    ], found.users, { mark: (u) => ({ "data-user": u.name, "data-off": u.disabled }) }));
    logins.replaceChildren(found.sessions.length ? sheet([
      [t("users.name"), (s) => s.user], [t("users.station"), (s) => s.station], [t("users.begun"), (s) => stamp(s.begun_ns / MS)], [t("users.used"), (s) => stamp(s.used_ns / MS)],
      [t("users.do"), (s) => small(t("users.end"), () => end(s))],
    ], found.sessions) : h("p", { class: "quiet" }, t("users.nobody")));
    roles.replaceChildren(sheet([
      [t("users.role"), (r) => roleWord(r[0])], [t("users.rights"), (r) => r[1].length ? r[1].map((right) => t(`right.${right}`)).join(" · ") : "—"],
    ], Object.entries(found.roles)));
  }

  session.addEventListener("change", load);
  load();
  return { refresh: () => {}, close: () => { closed = true; session.removeEventListener("change", load); } };
}
