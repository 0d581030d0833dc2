// The audit trail: who did what, when and why; exceptions first, signed reviews, export and print.

import { attribute, h, text } from "./dom.js";
import { plain, stamp, utc, zoneName } from "./format.js";
import { has, t } from "./i18n.js";
import { get, MS } from "./plant.js";
import { notice } from "./notice.js";
import { note } from "./route.js";
import { ask, session, signature } from "./session.js";
import { sheet } from "./sheet.js";
import { said } from "./said.js";

const COLUMNS = ["seq", "local", "user", "action", "object", "old", "new", "reason"];
const SHOWN = 1000;
const MOST = 100_000;

function actionWord(action) {
  return has(`audit.is.${action}`) ? t(`audit.is.${action}`) : action;
}

/** An alarm occurrence as people read it: edge, alarm and when it was raised. */
function readable(object) {
  const found = /^([^~]+)~(.+)~(\d{19})$/.exec(object);
  return found ? `${found[1]} · ${found[2]} · ${stamp(Number(found[3].slice(0, -6)))}` : object;
}

export function audit(root, params) {
  let filter = read(params);
  let answer = null;
  let closed = false;
  let turn = 0;
  let limit = SHOWN;
  let upTo = 0;
  const field = (name, label) => h("input", { type: "search", value: filter[name], placeholder: label, "aria-label": label, onchange: (event) => change({ [name]: event.target.value.trim() }) });
  const fields = { user: field("user", t("audit.user")), object: field("object", t("audit.object")), q: field("q", t("filter.text")) };
  const actions = ["login", "logout", "login_failed", "refused", "acknowledge", "acknowledge_refused", "password", "user_add", "user_role", "user_disable", "session_end", "audit_export", "audit_verify", "propose", "approve", "proposal_refused", "proposal_withdrawn", "handover_offer", "handover_accept", "handover_withdraw", "notify_test", "config_applied", "config_refused", "approval_kept", "approval_refused", "new_epoch", "log_set_aside", "restep_differs", "checkpoint_unusable", "clock_behind", "clock_step", "start", "edge_forgotten", "set_mode", "set_mode_refused", "withdraw_mode", "withdraw_mode_refused", "unit_mode", "unit_mode_refused", "renewed", "renewed_refused", "no_fault", "no_fault_refused", "withdraw_no_fault", "withdraw_no_fault_refused", "rejected", "rejected_refused", "withdraw_rejected", "withdraw_rejected_refused", "action_refused", "unit_mode_withdrawn", "unit_mode_ended", "people", "people_refused", "model_approved", "model_refused", "model_file_changed", "edge_config", "definition", "gateway_config", "review", "audit_broken"];
  fields.action = h("select", { "aria-label": t("audit.action"), onchange: () => change({ action: fields.action.value }) },
    h("option", { value: "" }, t("audit.anyAction")), actions.map((a) => h("option", { value: a }, t(`audit.is.${a}`))));
  const from = day("from", t("audit.from"));
  const to = day("to", t("audit.to"));
  const first = h("input", { type: "checkbox", onchange: () => change({ exceptions: first.checked ? "1" : "" }) });
  const count = h("span", { class: "count", role: "status" });
  const batches = h("datalist", { id: "batches" });
  fields.batch = field("batch", t("role.batch"));
  fields.batch.setAttribute("list", "batches");
  const made = h("div", { class: "of-batch", hidden: true });
  const review = h("button", { type: "button", class: "primary", onclick: sign }, t("audit.review"));
  const all = h("button", { type: "button", hidden: true, onclick: () => { limit = MOST; load(); } }, t("audit.showAll"));
  const csv = h("a", { class: "button", download: "audit.csv" }, "CSV");
  const print = h("button", { type: "button", onclick: () => window.print() }, t("audit.print"));
  const check = h("button", { type: "button", onclick: verify }, t("audit.verify"));
  const body = h("tbody");
  const reviewed = h("p", { class: "quiet" });
  const empty = h("p", { class: "empty" });
  const login = h("button", { type: "button", class: "primary", onclick: () => session.login() }, t("session.login"));
  const table = h("table", { class: "audit-table" }, h("caption", { class: "print-only" }),
    h("thead", null, h("tr", null, COLUMNS.map((c) => h("th", { scope: "col" }, t(`audit.${c}`))))), body);
  root.append(h("div", { class: "audit-page" },
    h("div", { class: "bar" }, fields.batch, batches, fields.user, fields.action, fields.object, fields.q, from, to, h("label", { class: "check" }, first, t("audit.first")), count, h("span", { class: "push" }), print, csv, check, all, review),
    h("section", { class: "panel scroll", tabindex: "0", "aria-label": t("page.audit") }, made, reviewed, table, empty, h("p", { class: "empty" }, login))));

  function day(name, label) {
    return h("label", { class: "check" }, label, h("input", { type: "date", name, value: filter[name], onchange: (event) => change({ [name]: event.target.value }) }));
  }

  function read(source) {
    return Object.fromEntries(["batch", "user", "action", "object", "q", "from", "to", "exceptions"].map((key) => [key, source.get(key) ?? ""]));
  }

  function change(part) {
    filter = { ...filter, ...part };
    note("audit", filter);
    load();
  }

  function query(more) {
    const search = new URLSearchParams();
    for (const key of ["batch", "user", "action", "object", "q"]) if (filter[key]) search.set(key, filter[key]);
    if (filter.from) search.set("from", instant(filter.from, 0));
    if (filter.to) search.set("to", instant(filter.to, 1));
    if (filter.exceptions) search.set("exceptions", "true");
    for (const [key, value] of Object.entries(more)) search.set(key, value);
    return `api/v1/audit?${search}`;
  }

  /** The begin of a day in the plant's zone, `later` days on, as RFC 3339. */
  function instant(date, later) {
    const noon = new Date(`${date}T00:00:00Z`);
    noon.setUTCDate(noon.getUTCDate() + later);
    const there = new Intl.DateTimeFormat("en", { timeZone: zoneName(), timeZoneName: "longOffset" }).formatToParts(noon).find((p) => p.type === "timeZoneName").value;
    const offset = there === "GMT" ? "+00:00" : there.replace("GMT", "");
    return `${noon.toISOString().slice(0, 10)}T00:00:00${offset}`;
  }

  async function load() {
    const mine = ++turn;
    for (const [key, node] of Object.entries(fields)) if (node.value !== filter[key]) node.value = filter[key];
    first.checked = Boolean(filter.exceptions);
    let trouble = "";
    if (!session.open && !session.user) {
      answer = null;
      drawBatch(null);
      draw(t("audit.login"));
      return;
    }
    try {
      const found = await get(query({ limit }));
      if (closed || mine !== turn) return;
      answer = found;
      const known = await get(`api/v1/audit/batches${filter.batch ? `?batch=${encodeURIComponent(filter.batch)}` : ""}`);
      if (closed || mine !== turn) return;
      if (!filter.batch) batches.replaceChildren(...[...new Set(known.batches.map((b) => b.batch))].map((b) => h("option", { value: b })));
      drawBatch(filter.batch ? known.batches : null);
    } catch (error) {
      if (closed || mine !== turn) return;
      answer = null;
      trouble = error.message;
    }
    draw(trouble);
  }

  function draw(trouble) {
    const rows = answer?.entries ?? [];
    body.replaceChildren(...rows.map(line));
    table.hidden = rows.length === 0;
    text(empty, trouble || (rows.length ? "" : t("audit.none")));
    empty.hidden = rows.length > 0;
    login.hidden = session.open || Boolean(session.user);
    review.hidden = session.open || !session.may("review_audit");
    const { why, through } = answer ? reviewable(rows) : { why: "", through: 0 };
    upTo = through;
    review.disabled = !through;
    attribute(review, "title", review.hidden ? null : why);
    all.hidden = review.hidden || why !== t("audit.reviewAll");
    csv.href = query({ format: "csv", limit: MOST });
    csv.hidden = !answer;
    check.hidden = !answer;
    text(count, answer ? t("audit.shown", { n: plain(rows.length), of: plain(answer.head.seq) }) : "");
    const done = answer?.reviewed;
    const signed = answer?.signed;
    text(reviewed, answer ? [
      done ? t("audit.reviewed", { seq: done.new, name: done.name, time: `${done.local.slice(0, 19)} (${done.tz})`, meaning: done.meaning }) : t("audit.notReviewed"),
      review.hidden ? "" : why,
      signed ? t("audit.signed", { seq: signed.seq, hash: signed.hash.slice(0, 16) }) : "",
    ].filter(Boolean).join(" · ") : "");
    text(table.caption, t("audit.caption", { head: answer?.head.seq ?? 0, hash: answer?.head.hash ?? "", zone: zoneName() }));
  }

  /** The gateway checks hashes and signatures of the whole trail; whoever asked is written down. */
  async function verify() {
    check.disabled = true;
    try {
      const { faults, head } = await get("api/v1/audit/verify");
      notice(faults.length ? t("audit.faults", { n: plain(faults.length), first: faults[0] }) : t("audit.sound", { n: plain(head.seq) }), faults.length ? "bad" : "");
      load();
    } catch (error) {
      notice(error.message, "bad");
    } finally {
      check.disabled = false;
    }
  }

  /** The entry through which what is shown can be signed as reviewed, 0 when nothing can; and why it is not the newest. */
  function reviewable(rows) {
    if (["user", "action", "object", "q", "from", "to"].some((key) => filter[key])) return { why: t("audit.reviewWhole"), through: 0 };
    const since = Number(answer.reviewed?.new ?? 0);
    const whole = filter.batch ? rows.length < limit : rows.filter((e) => e.seq > since).length >= answer.head.seq - since;
    if (!whole) return { why: t("audit.reviewAll"), through: 0 };
    // Nobody reviews what they did themselves; the gateway refuses it. What others did before it can be signed, so that two people who both act never wait for each other.
    const fresh = rows.filter((e) => e.seq > since);
    const me = session.user?.name;
    const own = fresh.filter((e) => e.user === me && !answer.personal.includes(e.action)).map((e) => e.seq);
    if (!own.length) return { why: "", through: answer.head.seq };
    const seq = Math.min(...own);
    if (!fresh.some((e) => e.seq < seq && e.user !== me)) return { why: t("audit.reviewOwn", { seq }), through: 0 };
    return { why: t("audit.reviewUpTo", { seq, through: seq - 1 }), through: seq - 1 };
  }

  /** When and where a batch was made, and its alarms; a reviewer reads both before the entries. */
  function drawBatch(units) {
    made.hidden = !units;
    if (!units) return;
    made.replaceChildren(h("h2", null, `${t("role.batch")} ${filter.batch}`), ...(units.length ? units.map((u) => h("section", null,
      h("p", null, h("b", null, `${u.edge} · ${u.unit}`), ` ${stamp(u.from_ns / MS)} – ${u.to_ns === null ? t("audit.goesOn") : stamp(u.to_ns / MS)} · ${t("audit.alarms", { n: plain(u.alarms.length), open: plain(u.alarms.filter((a) => a.acked_by === "" && !a.advisory).length) })}`),
      u.alarms.length ? sheet([[t("alarm.priority"), (a) => String(a.priority), "n"], [t("alarm.what"), (a) => a.alarm], [t("alarm.since"), (a) => stamp(a.raised_ns / MS)], [t("alarm.state"), (a) => t(`state.${a.state}`)], [t("handover.acked"), (a) => a.acked_by || "—"], [t("alarm.why"), (a) => said(a.explanation)]], u.alarms) : null)) : [h("p", { class: "quiet" }, t("audit.noBatch"))]));
  }

  function line(entry) {
    const exception = answer.exceptions.includes(entry.action);
    const who = [entry.user || "—", entry.role && (has(`role.is.${entry.role}`) ? t(`role.is.${entry.role}`) : entry.role), entry.station].filter(Boolean).join(" · ");
    const meaning = entry.meaning ? h("span", { class: "signed" }, t("audit.meaning", { name: entry.name, meaning: entry.meaning })) : null;
    return h("tr", { "data-exception": exception ? "" : null, "data-seq": entry.seq },
      h("td", { class: "n", title: entry.hash }, String(entry.seq)),
      h("td", { title: `${utc(Date.parse(entry.ts))}\n${entry.tz}` }, entry.local.slice(0, 19), h("span", { class: "zone" }, ` ${entry.tz.split(" ").at(-1)}`)),
      h("td", null, who), h("td", null, exception ? h("b", null, "! ") : null, actionWord(entry.action)), h("td", { title: entry.object }, readable(entry.object)),
      h("td", null, entry.old), h("td", null, entry.new), h("td", { title: entry.reason || null }, said(entry.reason), meaning));
  }

  async function sign() {
    const through = upTo;
    const reason = h("input", { type: "text", maxlength: 500, autocomplete: "off" });
    const signed = signature(t("sign.reviewed"));
    const done = await ask({
      title: t("audit.review"), go: t("sign.do"), first: signed.password,
      fields: [h("p", null, filter.batch ? t("audit.throughBatch", { batch: filter.batch, seq: through }) : t("audit.through", { seq: through })), h("label", null, t("audit.note"), reason), ...signed.fields],
      act: () => session.send("audit/review", "POST", { through, reason: reason.value.trim(), batch: filter.batch, signature: signed.value() }),
    });
    if (done) load();
  }

  session.addEventListener("change", load);
  load();
  return {
    refresh: () => {},
    params: (next) => { filter = read(next); load(); },
    close: () => { closed = true; session.removeEventListener("change", load); },
  };
}
