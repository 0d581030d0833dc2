// System: edges and their sources, the gateway's store and targets, and the ledger that accounts for every value.

import { attribute, h, text } from "./dom.js";
import { bytes, number, plain, span, stamp, utc } from "./format.js";
import { t } from "./i18n.js";
import { get, MS, plant } from "./plant.js";
import { notice } from "./notice.js";
import { Rows } from "./rows.js";
import { session } from "./session.js";

const COLUMNS = ["n_good", "n_uncertain", "n_bad", "n_late", "n_rejected", "n_duplicate", "n_missing", "gaps"];
const PERIOD_MS = 5000;

function when(ns) {
  if (ns === null || ns === undefined) return h("span", { class: "quiet" }, t("never"));
  const ms = ns / MS;
  return h("span", { title: utc(ms) }, `${stamp(ms)} · ${t("ago", { age: span((plant.now() - ms) / 1000) })}`);
}

function yes(good, words) {
  return h("span", { class: good ? "ok" : "trouble" }, words);
}

export function system(root) {
  let ledger = [];
  let shown = [];
  let closed = false;
  const edges = h("div", { class: "cards" });
  const store = h("dl", { class: "facts tall" });
  const targets = h("div", { class: "targets" });
  const receivers = h("div", { class: "targets", "data-part": "receivers" });
  const notices = h("ul", { class: "plain notices-list" });
  const find = h("input", { type: "search", placeholder: t("filter.text"), "aria-label": t("ledger.find"), oninput: () => sift() });
  const only = h("input", { type: "checkbox", onchange: () => sift() });
  const total = h("span", { class: "count" });
  const rows = new Rows({ make, show, label: t("system.ledger") });
  const empty = h("p", { class: "empty" });
  const head = h("div", { class: "ledger-row head" }, h("span", { class: "l-tag" }, t("tag")), COLUMNS.map((c) => h("span", { class: "n" }, t(`ledger.${c}`))), h("span", { class: "n l-last" }, t("ledger.last")));
  root.append(h("div", { class: "system-page" },
    h("section", { class: "panel", "data-part": "edges" }, h("h2", null, t("system.edges")), edges),
    h("section", { class: "panel", "data-part": "store" }, h("h2", null, t("system.store")), notices, store, h("h3", null, t("system.targets")), targets, h("h3", null, t("system.receivers")), receivers),
    h("section", { class: "panel ledger", "data-part": "ledger" }, h("header", null, h("h2", null, t("system.ledger")), find, h("label", { class: "check" }, only, t("ledger.only")), total), h("p", { class: "quiet" }, t("ledger.rule")),
      h("div", { class: "table" }, head, rows.node, empty))));

  function make() {
    const cells = [h("span", { class: "l-tag" }), ...COLUMNS.map(() => h("span", { class: "n" })), h("span", { class: "n l-last" })];
    const node = h("div", { class: "ledger-row", role: "row" }, cells);
    node.cells = cells;
    return node;
  }

  function show(node, index) {
    const row = shown[index];
    text(node.cells[0], row.key);
    attribute(node.cells[0], "title", row.key);
    COLUMNS.forEach((column, i) => {
      const cell = node.cells[i + 1];
      text(cell, plain(row[column]));
      attribute(cell, "data-label", t(`ledger.${column}`));
      attribute(cell, "class", row[column] === 0 ? "n zero" : ["n_bad", "n_rejected", "n_missing", "gaps"].includes(column) ? "n trouble" : "n");
    });
    const last = node.cells.at(-1);
    text(last, row.last_ns === null ? "—" : stamp(row.last_ns / MS));
    if (row.last_ns !== null) attribute(last, "title", utc(row.last_ns / MS));
  }

  function sift() {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    shown = ledger.filter((row) => (!only.checked || row.n_bad + row.n_rejected + row.n_missing + row.n_late + row.gaps > 0) && words.every((w) => row.key.toLowerCase().includes(w)));
    rows.count(shown.length);
    const sum = (column) => ledger.reduce((a, row) => a + row[column], 0);
    text(total, t("ledger.total", { tags: plain(ledger.length), good: plain(sum("n_good")), missing: plain(sum("n_missing")) }));
    empty.hidden = shown.length > 0;
    text(empty, ledger.length ? t("ledger.noMatch") : t("ledger.empty"));
  }

  function drawEdges() {
    const known = [...plant.edges.values()];
    edges.replaceChildren(...(known.length ? known.map(edgeCard) : [h("p", { class: "empty" }, t("edges.none"))]));
  }

  async function load() {
    try {
      const [status, book] = await Promise.all([get("api/v1/status"), get("api/v1/ledger")]);
      if (closed) return;
      drawStore(status);
      ledger = book.ledger;
      sift();
    } catch (error) {
      notices.replaceChildren(h("li", { class: "trouble" }, error.message));
    }
  }

  function drawStore(s) {
    const facts = [
      ["version", s.version], ["gateway", `${s.gateway} · ${s.site}`], ["mode", t(`mode.${s.mode}`)], ["uptime", span(s.uptime_s)],
      ["broker", yes(s.broker_connected, s.broker_connected ? t("connected") : s.broker_error || t("disconnected"))],
      ["rows", plain(s.rows)], ["records", plain(s.records)],
      ["inbox", `${plain(s.inbox_records)} · ${bytes(s.inbox_bytes)}`], ["segments", `${plain(s.segments)} · ${bytes(s.segment_bytes)}`],
      ["commit", when(s.last_commit_ns)], ["commitTime", s.commit_ms === null ? "—" : `${number(s.commit_ms, 1)} ms`], ["seal", when(s.last_seal_ns)],
      ["duplicates", plain(s.duplicates)], ["quarantined", yes(!s.quarantined, plain(s.quarantined))], ["refused", yes(!s.refused, plain(s.refused))],
      ["deadLetters", yes(!s.dead_letters, plain(s.dead_letters))],
      ["elsewhere", h("span", { title: Object.entries(s.elsewhere).map(([edge, n]) => `${edge} ${plain(n)}`).join(", ") }, plain(Object.values(s.elsewhere).reduce((sum, n) => sum + n, 0)))],
      ["manifest", h("code", { title: s.manifest_head }, s.manifest_head ? `${s.manifest_head.slice(0, 16)}…` : "—")],
    ];
    store.replaceChildren(...facts.flatMap(([key, value]) => [h("dt", null, t(`store.${key}`)), h("dd", null, value)]));
    notices.replaceChildren(...[...s.notices, s.seal_error].filter(Boolean).map((words) => h("li", { class: "trouble" }, words)));
    targets.replaceChildren(s.targets.length
      ? h("table", null, h("thead", null, h("tr", null, ["name", "state", "behind", "written", "rejected"].map((c) => h("th", { class: c === "name" || c === "state" ? "" : "n" }, t(`target.${c}`))))),
        h("tbody", null, s.targets.map((x) => h("tr", null, h("td", null, `${x.name} · ${x.kind}`), h("td", null, yes(x.connected, x.connected ? t("connected") : x.error || t("disconnected"))), h("td", { class: "n" }, plain(x.behind)), h("td", { class: "n" }, plain(x.written)), h("td", { class: "n" }, plain(x.rejected))))))
      : h("p", { class: "empty" }, t("targets.none")));
    receivers.replaceChildren(s.receivers.length
      ? h("table", null, h("thead", null, h("tr", null, ["name", "state", "waiting", "sent", "rejected", "try"].map((c) => h("th", { class: ["waiting", "sent", "rejected"].includes(c) ? "n" : "" }, t(`receiver.${c}`))))),
        h("tbody", null, s.receivers.map((x) => h("tr", { "data-receiver": x.name }, h("td", null, `${x.name} · ${x.kind}`), h("td", null, yes(x.reached && !x.error, x.error || t(x.reached ? "receiver.reached" : "receiver.away"))), h("td", { class: "n" }, plain(x.waiting)), h("td", { class: "n" }, plain(x.sent)), h("td", { class: "n" }, plain(x.rejected + x.given_up)), h("td", null, h("button", { type: "button", class: "small", onclick: (event) => trial(event.target, x.name) }, t("receiver.test")))))))
      : h("p", { class: "empty" }, t("receivers.none")));
  }

  async function trial(button, name) {
    button.disabled = true;
    try {
      await session.send(`notifications/${encodeURIComponent(name)}/test`, "POST");
      notice(t("receiver.taken", { name }));
    } catch (error) {
      notice(error.message);
    } finally {
      button.disabled = false;
    }
  }

  let last = 0;
  function refresh() {
    if (Date.now() - last < PERIOD_MS || !plant.live) return;
    last = Date.now();
    load();
  }
  let drawn = 0;
  const edgesChanged = () => { if (Date.now() - drawn > 900) { drawn = Date.now(); drawEdges(); } };
  plant.addEventListener("edges", edgesChanged);
  drawEdges();
  refresh();
  return { refresh, rebuild: () => { drawEdges(); last = 0; refresh(); }, close: () => { closed = true; rows.close(); plant.removeEventListener("edges", edgesChanged); } };
}

function edgeCard(edge) {
  const facts = [
    [t("edge.link"), yes(edge.connected && !edge.refused, edge.refused ? t("edge.refused") : edge.connected ? t("connected") : t("disconnected"))],
    [t("edge.seen"), when(edge.last_seen_ns)], [t("edge.backlog"), edge.connected ? t("records", { n: plain(edge.backlog) }) : t("unknown")],
    [t("edge.committed"), t("edge.through", { epoch: edge.epoch, seq: plain(edge.committed_through) })], [t("edge.software"), edge.software || "—"],
  ];
  return h("article", { class: "edge", "data-edge": edge.edge },
    h("h3", null, edge.edge, edge.simulated ? h("span", { class: "badge" }, t("simulated")) : null),
    h("dl", { class: "facts tall" }, facts.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    edge.sources.length
      ? h("table", null, h("thead", null, h("tr", null, h("th", null, t("source")), h("th", null, t("source.state")))),
        h("tbody", null, edge.sources.map((s) => h("tr", null, h("td", null, s.name), h("td", null, edge.connected ? yes(s.state === "connected", s.error || t(`source.${s.state}`)) : t("unknown"))))))
      : h("p", { class: "quiet" }, t("sources.none")));
}
