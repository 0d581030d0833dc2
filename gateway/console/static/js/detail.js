// One alarm in full: what, where, since when, how bad, why, what to do, and everything that happened to it.

import { attribute, h, text } from "./dom.js";
import { explanation } from "./explain.js";
import { number, span, stamp, unit, utc } from "./format.js";
import { has, local, t } from "./i18n.js";
import { acknowledge, act, allowed, fits, waiting, waitingWords } from "./actions.js";
import { people, suppressionWords } from "./alarmrow.js";
import { alarmPlace, alarmTitle, alarmTrend, alarmValue, mark, setMark, stateWord } from "./marks.js";
import { get, MS, plant, unacknowledged } from "./plant.js";
import { go } from "./route.js";
import { said } from "./said.js";

let open = null;

/** Show an occurrence beside the page; `known` is used until the gateway has answered. */
export function openAlarm(occurrence, known) {
  closeAlarm();
  const back = document.activeElement;
  const body = h("div", { class: "drawer-body" });
  const shape = mark(null);
  const title = h("h2", null);
  const ack = h("button", { type: "button", class: "primary", onclick: () => open?.row && acknowledge([open.row]) }, t("ack.do"));
  const comment = h("button", { type: "button", onclick: () => open?.row && acknowledge([open.row], { comment: true }) }, t("ack.withComment"));
  const trend = h("a", { class: "button", onclick: closeAlarm }, t("alarm.trend"));
  const more = ["shelve", "unshelve", "out_of_service", "in_service", "reset", "comment"].map((kind) => h("button", { type: "button", "data-act": kind, onclick: () => open?.row && act(kind, [open.row]) }, t(`act.do.${kind}`)));
  const under = h("p", { class: "quiet", role: "status" });
  const node = h("aside", { class: "drawer panel", role: "dialog", "aria-label": t("alarm.detail"), tabindex: "-1" },
    h("header", null, shape, title, h("button", { type: "button", class: "close", "aria-label": t("close"), onclick: closeAlarm }, "×")),
    h("div", { class: "buttons" }, ack, comment, trend, more), under, body);
  document.body.append(node);
  open = { occurrence, node, body, shape, title, ack, comment, trend, more, under, row: known ?? plant.alarms.get(occurrence), back, drawn: "" };
  node.focus();
  draw();
  get(`api/v1/alarms/${encodeURIComponent(occurrence)}`).then((row) => {
    if (open?.occurrence !== occurrence) return;
    open.row = row;
    draw();
  }, (error) => {
    if (open?.occurrence === occurrence && !open.row) body.replaceChildren(h("p", { class: "empty" }, error.message));
  });
}

export function closeAlarm() {
  if (!open) return false;
  open.node.remove();
  if (document.contains(open.back)) open.back.focus?.();
  open = null;
  return true;
}

export function shownAlarm() {
  return open?.row ?? null;
}

function field(name, value, attributes) {
  return value ? [h("dt", null, name), h("dd", attributes, value)] : [];
}

function draw() {
  const { row } = open;
  if (!row) return;
  const can = unacknowledged(row);
  setMark(open.shape, row);
  text(open.title, alarmTitle(row));
  text(open.under, waiting(row) ? waitingWords(row) : "");
  open.ack.disabled = !can || !fits("acknowledge", row) || !allowed("acknowledge");
  open.comment.disabled = open.ack.disabled;
  for (const button of open.more) {
    const kind = button.dataset.act;
    button.hidden = !fits(kind, row) || (kind === "comment" && row.state === "NORM");
    button.disabled = !allowed(kind);
  }
  const raised = row.raised_ns / MS;
  attribute(open.trend, "href", alarmTrend(row));
  const sight = `${row.state} ${row.events.length} ${row.last_ns}`;
  if (sight === open.drawn) return;
  open.drawn = sight;
  const tag = plant.tags.get(`${row.edge}:${row.tag}`);
  open.body.replaceChildren(...[
    h("dl", { class: "facts tall" },
      field(t("alarm.where"), alarmPlace(row)),
      field(t("alarm.priority"), `${row.priority} ${t(`priority.${row.priority}`)}${row.advisory ? ` · ${t("alarm.advisory")}` : ""}`),
      field(t("alarm.state"), stateWord(row.state)),
      field(t("alarm.since"), stamp(raised), { title: utc(raised) }),
      field(t("alarm.howBad"), alarmValue(row)),
      field(t("alarm.why"), said(row.explanation)),
      field(t("alarm.firstOut"), row.group && `${row.group}${row.first_out ? ` · ${t("alarm.first_out")}` : ""}`),
      field(t("alarm.respondWithin"), row.respond_within_s && span(row.respond_within_s)),
      row.suppressions.flatMap((one) => field(t(`overlay.${one.overlay}`), [people(one), one.reason, suppressionWords(one)].filter(Boolean).join(" · "))),
      field(t("alarm.ackedBy"), row.acked_by && `${row.acked_by} · ${stamp(row.acked_ns / MS)}`)),
    h("dl", { class: "texts" },
      field(t("alarm.response"), local(row.response), { class: "response" }),
      field(t("alarm.check"), local(row.check)), field(t("alarm.cause"), local(row.cause)), field(t("alarm.consequence"), local(row.consequence))),
    local(row.response) ? null : h("p", { class: "empty" }, t("alarm.noResponse")),
    ...explanation(row, (key) => lead("trends", { tag: [key], from: new Date(raised - 600_000).toISOString(), to: new Date(Math.min(plant.now(), raised + 600_000)).toISOString(), why: row.occurrence })),
    h("h3", null, t("alarm.events")),
    h("ol", { class: "events" }, [...row.events].reverse().map((e) => h("li", null,
      h("time", { title: utc(e.time_ns / MS) }, stamp(e.time_ns / MS)), h("b", null, e.overlay ? `${t(`event.${e.event}`)}: ${t(`overlay.${e.overlay}`)}` : has(`event.${e.event}`) ? t(`event.${e.event}`) : e.event),
      h("span", null, [[e.user, e.second_user].filter(Boolean).join(" + "), e.event === "refuse" ? said(e.reason) : e.reason, e.permit, e.user ? "" : said(e.explanation) || (e.value === null ? "" : `${number(e.value, tag?.decimals ?? 2)} ${unit(row.unit)}`)].filter(Boolean).join(" · "))))),
  ].filter(Boolean));
}

/** The page that is led to may be the one underneath. */
function lead(page, params) {
  closeAlarm();
  go(page, params);
}

plant.addEventListener("alarms", (event) => {
  if (!open) return;
  const row = event.detail.find((r) => r.occurrence === open.occurrence);
  // The live row may carry fewer events than the full one that was asked for.
  if (row) open.row = row.events.length >= (open.row?.events.length ?? 0) || row.last_ns > (open.row?.last_ns ?? 0) ? row : open.row;
  draw();
});
plant.addEventListener("pending", () => open && draw());
