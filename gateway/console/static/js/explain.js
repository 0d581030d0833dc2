// Why a model says what it says: what it found in numbers, and the share of each tag.

import { h } from "./dom.js";
import { number, unit } from "./format.js";
import { has, t } from "./i18n.js";
import { tagTitle } from "./marks.js";
import { plant } from "./plant.js";

const MOST = 8;

/** Sections of what an alarm's model found; `choose(key)` makes each tag a button that charts it. */
export function explanation(row, choose = null) {
  const numbers = Object.entries(row.contributions ?? {});
  const known = ([name]) => plant.tags.has(`${row.edge}:${name}`);
  const reasons = numbers.filter((one) => !known(one));
  // A model of one tag names that tag's value; a model of several the share of each.
  const tags = numbers.filter(known).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
  const judged = tags.length === 1 && (plant.tags.get(`${row.edge}:${row.tag}`)?.derived_from.length ?? 1) <= 1;
  return [
    reasons.length ? h("section", { class: "reasons" }, h("h3", null, t("alarm.explained")),
      h("table", null, reasons.map(([name, value]) => h("tr", null, h("td", null, has(`reason.${name}`) ? t(`reason.${name}`) : name), h("td", { class: "n" }, reasonValue(name, value)))))) : null,
    tags.length ? h("section", { class: "shares" }, h("h3", null, t(judged ? "alarm.judged" : "alarm.contributions")), shares(row.edge, tags, judged, choose)) : null,
  ].filter(Boolean);
}

function shares(edge, tags, judged, choose) {
  const whole = Math.max(1e-300, ...tags.map(([, share]) => Math.abs(share)));
  return h("table", null, tags.slice(0, MOST).map(([name, share]) => {
    const key = `${edge}:${name}`;
    const tag = plant.tags.get(key);
    const bar = h("i", { class: "share-bar", "aria-hidden": "true", "data-sign": share < 0 ? "-" : "+" });
    bar.style.width = `${(100 * Math.abs(share)) / whole}%`;
    const words = tagTitle(tag);
    return h("tr", null,
      h("td", null, choose ? h("button", { type: "button", class: "plain-link", "data-id": `share ${key}`, title: t("why.chart", { tag: name }), onclick: () => choose(key) }, words) : words, judged ? null : h("span", { class: "share" }, bar)),
      h("td", { class: "n" }, judged ? `${number(share, tag.decimals)} ${unit(tag.unit)}` : Math.abs(share) <= 1.0005 ? `${number(100 * share, 0)} %` : number(share, 2)));
  }));
}

/** Numbers that stand for words. */
const WORDS = {
  reason: (value) => has(`found.${value}`) && t(`found.${value}`),
  side: (value) => has(`side.${value}`) && t(`side.${value}`),
  channel: (value) => has(`channel.${value}`) && t(`channel.${value}`),
  off: (value) => has(`off.${value}`) && t(`off.${value}`),
};

function reasonValue(name, value) {
  return WORDS[name]?.(value) || number(value, 3);
}
