// Level 2: one unit with all its indicators grouped by what they are for, and its last hour on one time axis.

import { attribute, h, text } from "./dom.js";
import { clock, span } from "./format.js";
import { t } from "./i18n.js";
import { openAlarm } from "./detail.js";
import { Indicator } from "./indicator.js";
import { alarmValue, mark, setMark, setTitle } from "./marks.js";
import { ModeButton, unitPath } from "./mode.js";
import { Panes } from "./panes.js";
import { called, compare, groupOf, GROUPS, leading, MS, plant } from "./plant.js";
import { go, link } from "./route.js";

const SPAN_S = 3600;
const LEAST_S = 300;
const POINTS = 600;
const MOST = 6;

/** Tags by which a machine speaks of its health, or of energy, OEE, cold chain and sterilisation. */
const SPEAKS = /\.(wear|remaining|energy|oee|cold_chain|sterilisation)\.\w+$|\.zone$/;

export function unit(root, params) {
  let name = params.get("name") ?? "";
  let indicators = [];
  let fields = [];
  let mode = null;
  let asked = 0;
  const panes = new Panes(POINTS);
  const shape = mark(null);
  const title = h("h1", null);
  const facts = h("dl", { class: "facts" });
  const trends = h("a", { class: "button" }, t("unit.trends"));
  const health = h("a", { href: link("machines", {}), class: "button", title: "g m", hidden: true }, t("page.machines"));
  const course = h("a", { class: "button", title: "g b", hidden: true }, t("page.batches"));
  const alarms = h("a", { class: "button" }, t("unit.alarms"));
  const standing = h("div", { class: "unit-alarms" });
  const groups = h("div", { class: "unit-groups" });
  const pointed = h("span", { class: "pointed" });
  const list = h("div", { class: "unit-panes" });
  const empty = h("p", { class: "empty panel" });
  root.append(h("div", { class: "unit-page" },
    h("header", { class: "unit-head" }, shape, title, facts, h("span", { class: "push" }), health, course, alarms, trends), standing,
    h("div", { class: "unit-body" }, groups, h("section", { "aria-label": t("unit.hour") }, h("h2", null, t("unit.hour"), pointed), list)), empty));

  /** The last hour, or as much of it as there is: a line that has just begun shows its minutes. */
  const bounds = () => {
    const to = plant.now() / 1000;
    return { from: Math.max(to - SPAN_S, Math.min(panes.begins - 5, to - LEAST_S)), to };
  };
  const shown = () => panes.list.map((pane) => pane.key);

  function build() {
    const tags = plant.order.filter((tag) => tag.unitName === name);
    text(title, name);
    empty.hidden = tags.length > 0;
    text(empty, plant.ready ? t("unit.none", { name }) : t("loading"));
    const measured = tags.find((tag) => !tag.derived_from.length && !tag.model) ?? tags[0];
    mode = measured ? new ModeButton(measured.edge, unitPath(measured), name) : null;
    const context = ["batch", "phase"].map((role) => [role, tags.find((tag) => tag.role === role)]).filter(([, tag]) => tag);
    fields = context.map(([role, tag]) => ({ key: tag.key, node: h("dd", { "data-role": role }) }));
    facts.replaceChildren(...context.map(([role], i) => h("div", null, h("dt", null, t(`role.${role}`)), fields[i].node)), ...(mode ? [h("div", null, h("dt", null, t("role.mode")), h("dd", { "data-role": "mode" }, mode.node))] : []));
    const values = tags.filter((tag) => tag.role === "value" || tag.role === "");
    indicators = values.map((tag) => ({ group: groupOf(tag), indicator: new Indicator(tag, link("trends", { tag: [tag.key] })) }));
    groups.replaceChildren(...GROUPS.filter((group) => indicators.some((one) => one.group === group)).map((group) => h("section", { class: "unit panel", "data-group": group, "aria-label": t(`unit.group.${group}`) },
      h("header", null, h("h2", null, t(`unit.group.${group}`))), h("div", { class: "indicators" }, indicators.filter((one) => one.group === group).map((one) => one.indicator.node)))));
    const charted = leading(values, MOST);
    list.replaceChildren(...panes.build((plant.ready ? charted : []).map((tag) => tag.key), () => ({
      view: bounds, remove: null, out: () => go("trends", { tag: shown(), span: SPAN_S * 2 }), mark: (row) => openAlarm(row.occurrence, row),
      zoom: (from, to) => go("trends", { tag: shown(), from: new Date(from * 1000).toISOString(), to: new Date(to * 1000).toISOString() }),
      over: (s) => text(pointed, s === null ? "" : ` ▸ ${clock(s * 1000)}`),
    })));
    attribute(trends, "href", link("trends", { tag: shown(), span: SPAN_S }));
    health.hidden = !tags.some((tag) => SPEAKS.test(tag.name));
    const batch = tags.find((tag) => tag.role === "batch");
    course.hidden = !batch;
    if (batch) attribute(course, "href", link("batches", { unit: `${batch.edge}:${unitPath(batch)}` }));
    attribute(alarms, "href", link("alarms", { unit: name }));
    asked = 0;
    refresh();
  }

  function refresh() {
    const mine = called().filter((row) => (plant.tags.get(`${row.edge}:${row.tag}`)?.unitName ?? row.plant_unit) === name).sort(compare);
    setMark(shape, mine[0] ?? null);
    if (!standing.matches(":hover")) {
      standing.replaceChildren(...mine.slice(0, 3).map((row) => {
        const words = h("span", { class: "title" });
        setTitle(words, row);
        return h("button", { type: "button", onclick: () => openAlarm(row.occurrence, row) }, mark(row), words, h("span", { class: "quiet" }, [alarmValue(row), span((plant.now() - row.raised_ns / MS) / 1000)].filter(Boolean).join(" · ")));
      }), ...(mine.length > 3 ? [h("a", { class: "more", href: link("alarms", { unit: name }) }, t("alarms.more", { n: mine.length - 3 }))] : []));
    }
    mode?.refresh();
    for (const { key, node } of fields) {
      const tag = plant.tags.get(key);
      if (!tag) continue;
      text(node, tag.value === null || tag.value === "" ? "—" : String(tag.value));
      attribute(node, "data-quality", plant.quality(tag).quality);
    }
    for (const { indicator } of indicators) indicator.refresh();
    if (plant.live && panes.list.length && Date.now() - asked > 15_000) {
      asked = Date.now();
      const to = plant.now() / 1000;
      panes.load({ from: to - SPAN_S, to, live: true });
    }
    panes.draw();
  }

  build();
  return {
    refresh,
    rebuild: build,
    recolor: () => panes.recolor(),
    params: (next) => { name = next.get("name") ?? ""; build(); },
    close: () => panes.close(),
  };
}
