// Changes of edges' configurations: what is proposed, how it differs, and who signs it. One's own proposal is signed by somebody else.

import { h, text } from "./dom.js";
import { stamp, utc, zoneName, zoneOffset } from "./format.js";
import { t } from "./i18n.js";
import { get, MS } from "./plant.js";
import { notice } from "./notice.js";
import { note } from "./route.js";
import { ask, session, signature } from "./session.js";
import { field, input, sheet } from "./sheet.js";

export function changes(root, params) {
  let chosen = Number(params.get("id")) || 0;
  let rows = [];
  let closed = false;
  const list = h("div", { class: "scroll-x" });
  const one = h("section", { class: "panel", hidden: true });
  const empty = h("p", { class: "empty" });
  const login = h("p", { class: "empty" }, h("button", { type: "button", class: "primary", onclick: () => session.login() }, t("session.login")));
  const file = h("input", { type: "file", accept: "application/json,.json", hidden: true, "aria-label": t("change.upload"), onchange: () => upload() });
  const add = h("button", { type: "button", class: "primary", onclick: () => file.click() }, t("change.upload"));
  const all = h("section", { class: "panel" }, h("header", null, h("h2", null, t("page.changes")), h("span", { class: "push" }), add, file), h("p", { class: "quiet" }, t("change.how")), list);
  root.append(h("div", { class: "office-page" }, empty, login, one, all));

  const when = (ns) => (ns === null ? "—" : h("span", { title: utc(ns / MS) }, stamp(ns / MS)));
  const person = (name, printed) => (printed && printed !== name ? `${printed} (${name})` : name);

  async function load() {
    let trouble = "";
    if (session.open) trouble = t("session.noAccounts");
    else if (!session.user) trouble = t("change.login");
    else {
      try {
        const found = await get("api/v1/proposals");
        if (closed) return;
        rows = found.proposals;
      } catch (error) {
        trouble = error.message;
      }
    }
    if (closed) return;
    login.hidden = session.open || Boolean(session.user);
    all.hidden = Boolean(trouble);
    text(empty, trouble || (rows.length ? "" : t("change.none")));
    empty.hidden = !empty.textContent;
    add.hidden = !session.may("propose") || session.open;
    if (trouble) { one.hidden = true; return; }
    list.replaceChildren(rows.length ? sheet([
      [t("change.no"), (p) => String(p.id), "n"], [t("change.edge"), (p) => p.edge], [t("change.state"), (p) => h("b", null, t(`change.is.${p.state}`))],
      [t("change.by"), (p) => person(p.proposed_by, p.proposed_name)], [t("change.when"), (p) => when(p.proposed_ns)], [t("change.reason"), (p) => p.reason],
      [t("change.decided"), (p) => (p.decided_by ? person(p.decided_by, p.decided_name) : "—")],
      [t("users.do"), (p) => h("button", { type: "button", class: "small", onclick: () => show(p.id) }, t("change.open"))],
    ], rows, { mark: (p) => ({ "data-proposal": p.id, "data-state": p.state }) }) : "");
    if (chosen) show(chosen);
    else one.hidden = true;
  }

  async function show(id) {
    let p;
    try {
      p = await get(`api/v1/proposals/${id}`);
    } catch (error) {
      notice(error.message);
      return;
    }
    if (closed) return;
    chosen = id;
    note("changes", { id });
    const own = p.proposed_by === session.user?.name;
    const waits = p.state === "proposed";
    const facts = [
      [t("change.by"), `${person(p.proposed_by, p.proposed_name)}, ${stamp(p.proposed_ns / MS)}`], [t("change.reason"), p.reason],
      [t("change.hash"), h("code", null, p.sha256)], [t("change.compared"), p.base ? t("change.base", { id: p.base }) : t("change.first")],
      ...(p.decided_by ? [[t("change.decided"), `${t(`change.is.${p.state}`)}: ${person(p.decided_by, p.decided_name)}, ${stamp(p.decided_ns / MS)}`], [t("change.why"), p.why]] : []),
      ...(p.meaning ? [[t("sign.meaning"), p.meaning], [t("change.effective"), when(p.effective_ns)]] : []),
    ];
    one.replaceChildren(
      h("header", null, h("h2", null, t("change.title", { id: p.id, edge: p.edge })), h("span", { class: "push" }),
        h("button", { type: "button", onclick: () => window.print() }, t("audit.print")),
        p.state === "approved" ? h("a", { class: "button", href: `api/v1/proposals/${id}/approval`, download: `approval-${id}.json` }, t("change.file")) : null,
        waits && (own || session.may("approve")) ? h("button", { type: "button", onclick: () => refuse(p, own) }, t(own ? "change.withdraw" : "change.refuse")) : null,
        waits && !own && session.may("approve") ? h("button", { type: "button", class: "primary", onclick: () => approve(p) }, t("change.approve")) : null),
      h("dl", { class: "facts tall" }, facts.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
      h("h3", null, t("change.differences", { n: p.differences.length })),
      h("div", { class: "scroll-x diff" }, sheet([[t("change.key"), (d) => h("code", null, d.key)], [t("audit.old"), (d) => side(d.old, d.new, "old")], [t("audit.new"), (d) => side(d.new, d.old, "new")]], p.differences)));
    if (own && waits) one.append(h("p", { class: "quiet" }, t("change.own")));
    one.hidden = false;
  }

  function side(value, other, kind) {
    if (value === "") return h("span", { class: "quiet" }, t(kind === "old" ? "change.absent" : "change.removed"));
    return h("span", { class: other === "" ? "" : "d-value" }, value);
  }

  async function approve(p) {
    const reason = input({ required: true });
    const effective = h("input", { type: "datetime-local" });
    const signed = signature(t("sign.approved"));
    const done = await ask({
      title: t("change.title", { id: p.id, edge: p.edge }), go: t("change.approve"), first: reason,
      fields: [h("p", null, t("change.sure", { n: p.differences.length })), field(t("change.why"), reason), field(t("change.from", { zone: zoneName() }), effective), ...signed.fields],
      act: () => session.send(`proposals/${p.id}/approve`, "POST", { reason: reason.value.trim(), ...(effective.value ? { effective: `${effective.value}:00${offset()}` } : {}), signature: signed.value() }),
    });
    if (done) { notice(t("change.approved", { id: p.id })); load(); }
  }

  const offset = () => zoneOffset().replace("UTC", "") || "+00:00";

  async function refuse(p, own) {
    const reason = input({ required: true });
    const word = t(own ? "change.withdraw" : "change.refuse");
    const done = await ask({ title: `${word}: ${t("change.title", { id: p.id, edge: p.edge })}`, go: word, first: reason, fields: [field(t("change.why"), reason)], act: () => session.send(`proposals/${p.id}/refuse`, "POST", { reason: reason.value.trim() }) });
    if (done) load();
  }

  async function upload() {
    const [picked] = file.files;
    file.value = "";
    if (!picked) return;
    let proposal;
    try {
      proposal = JSON.parse(await picked.text());
    } catch {
      notice(t("change.notOne", { file: picked.name }));
      return;
    }
    const reason = input({ required: true, value: proposal.reason ?? "" });
    const done = await ask({
      title: t("change.upload"), go: t("change.propose"), first: reason, fields: [h("p", null, t("change.of", { edge: proposal.edge ?? "?", file: picked.name })), field(t("change.reason"), reason)],
      act: async () => { chosen = (await session.send("proposals", "POST", { ...proposal, reason: reason.value.trim() })).id; },
    });
    if (done) load();
  }

  session.addEventListener("change", load);
  load();
  return { refresh: () => {}, params: (next) => { chosen = Number(next.get("id")) || 0; load(); }, close: () => { closed = true; session.removeEventListener("change", load); } };
}
