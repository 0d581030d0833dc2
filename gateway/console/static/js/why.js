// Beside the trends: which models judge the chosen tag, what they said at the instant that was pointed at, and why they called.

import { attribute, h, text } from "./dom.js";
import { number, shortStamp, unit } from "./format.js";
import { has, t } from "./i18n.js";
import { openAlarm } from "./detail.js";
import { explanation } from "./explain.js";
import { series } from "./happenings.js";
import { alarmTitle, mark, stateWord, tagTitle } from "./marks.js";
import { concerns, stem, stood } from "./panes.js";
import { MS, plant, statusQuality } from "./plant.js";
import { said } from "./said.js";

const MODELS = 6;
const FINDINGS = 12;
/** Where an output's last value before an instant is looked for, the nearest first: seconds back from and to, in how many rows.
 *  The first two take single values or windows, the last one the rollups of hours, which end with the instant at the latest. */
const LOOKS = [[60, -0.001, 60], [3600, 60, 600], [86_400, 3600, 1]];

/** Outputs of the models that judge a tag, by model; those of its own model where it is an output itself. */
export function judging(key) {
  const tag = plant.tags.get(key);
  const found = new Map();
  if (!tag) return found;
  const own = tag.derived_from.length ? stem(tag.name) : "";
  for (const one of plant.order) {
    if (one.edge !== tag.edge || !one.derived_from.length || one.kind !== "numeric") continue;
    if (own ? stem(one.name) !== own : !one.derived_from.includes(tag.name) && !one.name.startsWith(`${tag.name}.`)) continue;
    const name = stem(one.name);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(one);
  }
  return new Map([...found].slice(0, MODELS));
}

/** What a tag was last before an instant in s, with its status; null where nothing is known of the day before it. */
async function lastAt(key, at) {
  for (const [from, to, points] of LOOKS) {
    const row = await series(key, at - from, at - to, points);
    // A window that the instant lies in also holds what came after it.
    const ends = (i) => (row.level === "window" ? row.time_ns[i + 1] ?? 2 * row.time_ns[i] - row.time_ns[i - 1] : row.time_ns[i]);
    const i = row.time_ns.findLastIndex((_, k) => ends(k) <= (at + 0.001) * 1e9);
    if (i >= 0) return { value: row.last[i], status: row.worst_status[i] };
  }
  return null;
}

export class Why {
  #drawn = "";
  #cells = [];
  #asked = "";

  /** `chart(key)` puts a tag into the trends, `choose(occurrence)` a finding into the address, `pick(key)` chooses a pane. */
  constructor({ chart, choose, close }) {
    this.act = { chart, choose, close };
    this.body = h("div", { class: "why-body" });
    this.node = h("aside", { class: "why panel", "aria-label": t("why.title"), tabindex: "-1" },
      h("header", null, h("h2", null, t("why.title")), h("button", { type: "button", class: "close", "aria-label": t("close"), onclick: close }, "×")), this.body);
  }

  /** `key` of the chosen pane, `at` the instant in s that was pointed at or null for now, `rows` alarms, `span` those listed stood in, `chosen` an occurrence or "". */
  draw({ key, at, rows, span, chosen, shown }) {
    const tag = plant.tags.get(key);
    const models = judging(key);
    const findings = tag ? rows.filter((row) => stood(row, span) && concerns(row, key) && row.events.length) : [];
    const one = rows.find((row) => row.occurrence === chosen);
    const listed = findings.slice(0, FINDINGS);
    if (one && !listed.includes(one)) listed.unshift(one);
    const sight = [key, at, chosen, shown.join(), [...models].map(([name, outputs]) => `${name}:${outputs.length}`), listed.map((row) => `${row.occurrence}${row.state}`)].join("|");
    if (sight !== this.#drawn) {
      this.#drawn = sight;
      const held = this.node.contains(document.activeElement) ? document.activeElement.dataset.id : null;
      this.#cells = [];
      this.body.replaceChildren(...[
        tag ? h("p", { class: "why-tag" }, h("b", null, tagTitle(tag)), h("span", { class: "i-code" }, tag.name)) : h("p", { class: "empty" }, t("trends.empty")),
        tag ? h("p", { class: "quiet why-at" }, at === null ? t("why.now") : t("why.at", { time: shortStamp(at * 1000, plant.now()) })) : null,
        ...[...models].map(([name, outputs]) => this.#model(name, outputs, shown)),
        tag && !models.size ? h("p", { class: "empty" }, t("why.noModel")) : null,
        tag ? h("section", { class: "findings" }, h("h3", null, t("why.findings")),
          listed.length ? h("ul", { class: "plain" }, listed.map((row) => this.#finding(row, row === one))) : h("p", { class: "empty" }, t("why.none"))) : null,
      ].filter(Boolean));
      if (held) this.body.querySelector(`[data-id="${CSS.escape(held)}"]`)?.focus();
      this.#ask(at);
    }
    if (at === null) for (const { output, cell } of this.#cells) this.#say(cell, output, output.value, plant.quality(output).quality);
  }

  #model(name, outputs, shown) {
    const kind = outputs[0].model.split(":")[0] || name.slice(name.lastIndexOf(".") + 1);
    return h("section", { class: "why-model" }, h("h3", null, has(`kind.${kind}`) ? t(`kind.${kind}`) : kind, " ", h("span", { class: "i-code" }, name)),
      h("table", null, outputs.map((output) => {
        const word = output.name.slice(name.length + 1);
        const cell = h("td", { class: "n" }, "—");
        this.#cells.push({ output, cell });
        return h("tr", null,
          h("td", null, h("button", { type: "button", class: "plain-link", "data-id": `output ${output.key}`, "aria-pressed": shown.includes(output.key), title: t("why.chart", { tag: output.name }), onclick: () => this.act.chart(output.key) }, has(`output.${word}`) ? t(`output.${word}`) : word)),
          cell);
      })));
  }

  #finding(row, open) {
    const button = h("button", { type: "button", class: "why-finding", "aria-expanded": open, "data-id": `finding ${row.occurrence}`, onclick: () => this.act.choose(open ? "" : row.occurrence) },
      mark(row), h("span", { class: "title" }, alarmTitle(row)), h("span", { class: "quiet" }, `${shortStamp(row.raised_ns / MS, plant.now())} · ${stateWord(row.state)}`));
    if (!open) return h("li", null, button);
    return h("li", { "data-open": "" }, button, said(row.explanation) ? h("p", null, said(row.explanation)) : null, ...explanation(row, this.act.chart),
      h("p", null, h("button", { type: "button", "data-id": "alarm", onclick: () => openAlarm(row.occurrence, row) }, t("why.alarm"))));
  }

  #say(cell, output, value, quality) {
    text(cell, typeof value === "number" ? `${number(value, output.decimals)} ${unit(output.unit)}`.trim() : "—");
    attribute(cell, "data-quality", quality);
  }

  /** What each output was at an instant in the past. */
  async #ask(at) {
    const mine = `${this.#drawn} ${at}`;
    this.#asked = mine;
    if (at === null) return;
    await Promise.all(this.#cells.map(async ({ output, cell }) => {
      const told = await lastAt(output.key, at).catch(() => null);
      if (this.#asked === mine) this.#say(cell, output, told?.value ?? null, told ? statusQuality(told.status, plant.edges.get(output.edge)?.simulated) : "none");
    }));
  }
}
