// Shape, number and colour of an alarm: 1 square, 2 triangle, 3 inverted triangle, 4 circle. Only the marker ever flashes.

import { attribute, h, svg, text } from "./dom.js";
import { has, local, t } from "./i18n.js";
import { number, unit } from "./format.js";
import { covered, MS, plant } from "./plant.js";
import { link } from "./route.js";

const SHAPES = {
  1: "M2.5 2.5h15v15h-15z",
  2: "M10 1.5 18.8 17.5H1.2z",
  3: "M10 18.5 1.2 2.5h17.6z",
  4: "M10 1.8a8.2 8.2 0 1 0 0 16.4a8.2 8.2 0 1 0 0-16.4z",
};
const MIDDLE = { 1: 14, 2: 15.6, 3: 12, 4: 14 };

export function shapePath(priority) {
  return SHAPES[priority] ?? SHAPES[4];
}

export function mark(row) {
  const node = svg("svg", { class: "mark", viewBox: "0 0 20 20", role: "img" },
    svg("path", { class: "shape", d: "" }), svg("text", { x: 10, y: 14, "text-anchor": "middle", "font-size": 11 }, ""));
  setMark(node, row);
  return node;
}

export function setMark(node, row) {
  if (!row) {
    attribute(node, "class", "mark none");
    attribute(node, "aria-hidden", "true");
    return;
  }
  const [shape, digit] = node.children;
  const under = covered(row);
  const look = under ? "covered" : row.state === "RTNUN" ? "hollow" : row.state === "UNACK" || row.state === "LATUN" ? "flash" : row.state === "NORM" ? "over" : "steady";
  attribute(node, "class", `mark p${row.priority} ${look}`);
  attribute(node, "aria-hidden", null);
  attribute(node, "aria-label", `${t(`priority.${row.priority}`)}, ${stateWord(row.state)}`);
  attribute(shape, "d", under ? SHAPES[1] : shapePath(row.priority));
  attribute(digit, "y", under ? MIDDLE[1] : MIDDLE[row.priority] ?? 14);
  if (digit.textContent !== String(row.priority)) digit.textContent = row.priority;
}

export function stateWord(state) {
  return has(`state.${state}`) ? t(`state.${state}`) : state;
}

/** A tag in words; of what a model says about a tag: that tag, the model, and which of its outputs. */
export function tagTitle(tag) {
  return tagWords(tag).join(" · ");
}

/** The edge tells a derived tag as the tag it judges and the model's kind: kind and output get the reader's words where there are any. */
function tagWords(tag) {
  const words = local(tag.description) || tag.name;
  if (!tag.derived_from?.length && !tag.model) return [words];
  const [judged, ...rest] = words.split(" · ");
  const output = tag.name.slice(tag.name.lastIndexOf(".") + 1);
  if (rest.at(-1) !== output && has(`output.${output}`)) rest.push(output);
  return [judged, ...rest.map((part) => [`kind.${part}`, `output.${part}`, `machines.feature.${part}`].filter(has).map((key) => t(key))[0] ?? part)];
}

/** What is wrong, in words: the tag's description and which limit. */
export function alarmTitle(row) {
  return alarmWords(row).filter(Boolean).join(" · ");
}

/** The same in a node of two parts: where room is short the description is cut and never the limit. */
export function setTitle(node, row) {
  if (node.children.length !== 2) node.replaceChildren(h("span", { class: "t-name" }), h("span", { class: "t-kind" }));
  const [name, kind] = alarmWords(row);
  text(node.children[0], name);
  text(node.children[1], kind ? ` · ${kind}` : "");
}

function kindWord(kind) {
  return has(`alarm.${kind}`) ? t(`alarm.${kind}`) : kind;
}

function alarmWords(row) {
  const tag = plant.tags.get(`${row.edge}:${row.tag}`);
  const kind = row.alarm.startsWith(`${row.tag}.`) ? row.alarm.slice(row.tag.length + 1) : "";
  const word = kindWord(kind);
  // What the edge and the gateway watch themselves: a source, the edge, or an edge as the gateway hears it.
  const own = row.tag ? null : /^(?:(?:source|gateway)\/(.+)\.|edge\/)(\w+)$/.exec(row.alarm);
  if (own) return [own[1] ?? row.edge, kindWord(own[2])];
  if (!tag) return [row.tag || row.alarm, word];
  const [name, model] = tagWords(tag);
  return [name, [model, word].filter(Boolean).join(" · ")];
}

export function alarmUnit(row) {
  const tag = plant.tags.get(`${row.edge}:${row.tag}`);
  return tag?.unitName ?? row.tag.split("/")[0];
}

/** Where it is: the tag's name, with the unit before it when the name does not begin with it. */
export function alarmPlace(row) {
  if (!row.tag) return row.edge;
  const name = alarmUnit(row);
  return row.tag.startsWith(`${name}/`) ? row.tag : `${name} · ${row.tag}`;
}

/** Where the trend around an alarm is: its tag, and the tags that contributed most to it. */
export function alarmTrend(row) {
  const why = Object.entries(row.contributions ?? {}).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).map(([name]) => `${row.edge}:${name}`);
  const tags = [...new Set([`${row.edge}:${row.tag}`, ...behind(row), ...why])].filter((key) => plant.tags.has(key)).slice(0, 5);
  const raised = row.raised_ns / MS;
  const end = row.state === "NORM" || row.state === "RTNUN" ? row.last_ns / MS : plant.now();
  const to = Math.min(plant.now(), Math.max(end, raised + 60_000) + 300_000);
  return link("trends", { tag: tags, from: new Date(raised - 600_000).toISOString(), to: new Date(Math.max(to, raised + 1000)).toISOString(), why: Object.keys(row.contributions ?? {}).length ? row.occurrence : "" });
}

/** Of a finding, which is 0 or 1, what it was found in: the score, its threshold, and the tag that a model of one tag judged. */
function behind(row) {
  const from = plant.tags.get(`${row.edge}:${row.tag}`)?.derived_from ?? [];
  const stem = row.tag.slice(0, row.tag.lastIndexOf("."));
  const names = [...["score", "ratio", "threshold"].map((output) => `${stem}.${output}`), ...(from.length === 1 ? from : [])];
  return from.length ? names.map((name) => `${row.edge}:${name}`) : [];
}

/** How many decimals a limit needs to be read as it was set: half way between 0 and 1 is 0.5, whatever the decimals of the tag. */
function places(limit, decimals) {
  for (let n = decimals; n < 6; n++) if (Number(limit.toFixed(n)) === limit) return n;
  return decimals;
}

/** "16.52 kN, limit 16.00" with the tag's decimals. */
export function alarmValue(row) {
  const tag = plant.tags.get(`${row.edge}:${row.tag}`);
  if (row.value === null) return "";
  const decimals = tag?.decimals ?? 2;
  const shown = `${number(row.value, decimals)} ${unit(row.unit || tag?.unit)}`.trim();
  return row.limit === null ? shown : t("alarm.value", { value: shown, limit: number(row.limit, places(row.limit, decimals)) });
}
