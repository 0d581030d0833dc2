// Level 1: the line as units in process order, and the alarm summary beside it.

import { attribute, h, text } from "./dom.js";
import { plain, span } from "./format.js";
import { t } from "./i18n.js";
import { Indicator } from "./indicator.js";
import { mark, setMark, setTitle } from "./marks.js";
import { ModeButton, unitPath } from "./mode.js";
import { called, compare, MS, plant, unacknowledged } from "./plant.js";
import { link } from "./route.js";
import { openAlarm } from "./detail.js";
import { said } from "./said.js";

const CLASSES = ["gmp_critical", "gmp", "safety", "environment", "other"];
const RAIL_ROWS = 40;

/** The tags an operator looks at first: limited before unlimited, critical before others, in the order they were defined. */
function keyTags(tags, most) {
  const weight = (tag) => CLASSES.indexOf(tag.class) + (tag.limits.length ? 0 : 10);
  const measured = tags.filter((tag) => tag.kind === "numeric" && tag.role === "value" && !tag.derived_from.length && !tag.model);
  const chosen = new Set([...measured].sort((a, b) => weight(a) - weight(b)).slice(0, most));
  return measured.filter((tag) => chosen.has(tag));
}

class UnitCard {
  constructor(name, tags, most) {
    this.name = name;
    this.tags = tags;
    this.derived = tags.filter((tag) => tag.derived_from.length || tag.model);
    const measured = tags.find((tag) => !tag.derived_from.length && !tag.model) ?? tags[0];
    this.mode = new ModeButton(measured.edge, unitPath(measured), name);
    this.context = ["batch", "phase"].map((role) => [role, tags.find((tag) => tag.role === role)]).filter(([, tag]) => tag);
    const shown = keyTags(tags, most);
    this.indicators = shown.map((tag) => new Indicator(tag, link("trends", { tag: [tag.key] })));
    this.mark = mark(null);
    this.fields = this.context.map(([role]) => h("dd", { "data-role": role }));
    this.models = h("dd", null);
    const facts = this.context.map(([role], i) => h("div", null, h("dt", null, t(`role.${role}`)), this.fields[i]));
    facts.push(h("div", null, h("dt", null, t("role.mode")), h("dd", { "data-role": "mode" }, this.mode.node)));
    if (this.derived.length) facts.push(h("div", null, h("dt", null, t("models")), this.models));
    this.node = h("section", { class: "unit panel", "aria-label": name, "data-unit": name },
      h("header", null, h("h2", null, this.mark, h("a", { href: link("unit", { name }), title: t("unit.open") }, name)), h("dl", { class: "facts" }, facts)),
      h("div", { class: "indicators" }, this.indicators.map((i) => i.node)),
      shown.length ? null : h("p", { class: "empty" }, t("unit.empty")));
    // The observer says which cards are in sight: drawing them all at once would hold a large plant's page for seconds.
    this.visible = false;
  }

  refresh() {
    const worst = this.tags.map((tag) => tag.alarm).filter(Boolean).sort((a, b) => a.priority - b.priority || compare(a, b))[0];
    setMark(this.mark, worst ?? null);
    attribute(this.node, "data-alarm", worst ? worst.priority : null);
    this.mode.refresh();
    this.context.forEach(([, tag], i) => {
      const { quality } = plant.quality(tag);
      text(this.fields[i], tag.value === null || tag.value === "" ? "—" : String(tag.value));
      attribute(this.fields[i], "data-quality", quality);
    });
    if (this.derived.length) {
      const well = this.derived.filter((tag) => ["good", "uncertain"].includes(plant.quality(tag).quality)).length;
      text(this.models, t("models.live", { n: well, of: this.derived.length }));
      // A model that still learns has no value yet, which is no fault; one that fell silent is.
      attribute(this.models, "class", this.derived.some((tag) => plant.quality(tag).quality === "stale") ? "trouble" : null);
    }
    for (const indicator of this.indicators) indicator.refresh();
  }
}

/** The alarm summary at the right; its order rests while the pointer is on it. */
class Rail {
  #rows = new Map();
  #order = [];

  constructor() {
    this.counts = h("span", { class: "counts" });
    this.list = h("div", { class: "rail-list", role: "list" });
    this.more = h("a", { class: "more", href: link("alarms", {}) });
    this.empty = h("p", { class: "empty" }, t("alarms.none"));
    this.node = h("aside", { class: "rail panel", "aria-label": t("alarms.summary") },
      h("header", null, h("h2", null, t("alarms.summary")), this.counts), this.list, this.empty, this.more);
    this.node.addEventListener("pointerleave", () => this.refresh(true));
  }

  refresh(sort = false) {
    const standing = called().sort(compare);
    const still = this.node.matches(":hover") && !sort;
    if (!still) this.#order = standing.slice(0, RAIL_ROWS).map((row) => row.occurrence);
    const shown = new Set(this.#order);
    for (const [id, row] of this.#rows) if (!shown.has(id)) { row.node.remove(); this.#rows.delete(id); }
    let before = null;
    for (const id of this.#order) {
      let row = this.#rows.get(id);
      const alarm = plant.alarms.get(id);
      if (!row) {
        if (!alarm) continue;
        row = railRow(id);
        this.#rows.set(id, row);
      }
      row.refresh(alarm);
      const place = before ? before.nextSibling : this.list.firstChild;
      if (place !== row.node) this.list.insertBefore(row.node, place);
      before = row.node;
    }
    const open = standing.filter(unacknowledged).length;
    text(this.counts, standing.length ? t("alarms.counts", { n: plain(standing.length), open: plain(open) }) : "");
    this.empty.hidden = standing.length > 0 || this.#rows.size > 0;
    const beyond = standing.length - Math.min(standing.length, RAIL_ROWS);
    this.more.hidden = !standing.length;
    text(this.more, beyond ? t("alarms.more", { n: plain(beyond) }) : t("alarms.all"));
  }
}

function railRow(id) {
  const shape = mark(null);
  const title = h("span", { class: "rail-title" });
  const why = h("span", { class: "rail-why" });
  const since = h("span", { class: "rail-since" });
  let last = null;
  const node = h("button", { class: "rail-row", type: "button", role: "listitem", onclick: () => last && openAlarm(last.occurrence, last) }, shape, title, why, since);
  return {
    node,
    refresh(alarm) {
      const row = alarm ?? (last ? { ...last, state: "NORM" } : null);
      if (!row) return;
      last = row;
      setMark(shape, row);
      attribute(node, "data-over", row.state === "NORM" ? "" : null);
      setTitle(title, row);
      text(why, said(row.explanation) || row.tag);
      text(since, row.state === "NORM" ? t("state.NORM") : span((plant.now() - row.raised_ns / MS) / 1000));
      attribute(node, "data-occurrence", id);
    },
  };
}

export function overview(root) {
  const cards = [];
  const units = h("div", { class: "units" });
  const rail = new Rail();
  const page = h("div", { class: "overview" }, units, rail.node);
  root.append(page);
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const card = cards.find((c) => c.node === entry.target);
      if (card) {
        card.visible = entry.isIntersecting;
        if (card.visible) card.refresh();
      }
    }
  }, { root: null, rootMargin: "100px" });

  function build() {
    seen.disconnect();
    cards.length = 0;
    units.replaceChildren();
    const groups = new Map();
    for (const tag of plant.order) {
      const name = tag.unitName;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(tag);
    }
    attribute(units, "data-units", groups.size === 1 ? "one" : "many");
    for (const [name, tags] of groups) {
      const card = new UnitCard(name, tags, groups.size === 1 ? 12 : 6);
      cards.push(card);
      units.append(card.node);
      seen.observe(card.node);
    }
    if (!cards.length) units.append(h("p", { class: "empty panel" }, plant.ready ? t("overview.empty") : t("loading")));
    refresh();
  }

  function refresh() {
    for (const card of cards) if (card.visible) card.refresh();
    rail.refresh();
  }

  build();
  return { refresh, rebuild: build, close: () => seen.disconnect() };
}
