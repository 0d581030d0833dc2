// A batch on its way against earlier ones: each tag with what they did at the same moment and limits from them, and what the models say of it.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { attribute, color, h, rem, text } from "./dom.js";
import { font } from "./drawing.js";
import { number, shortStamp, span, stamp, unit as unitWord } from "./format.js";
import { t } from "./i18n.js";
import { openAlarm } from "./detail.js";
import { explanation } from "./explain.js";
import { textSeries } from "./happenings.js";
import { alarmTitle, mark, stateWord, tagTitle } from "./marks.js";
import { unitPath } from "./mode.js";
import { stem } from "./panes.js";
import { get, MS, plant } from "./plant.js";
import { link, note } from "./route.js";
import { choice, field } from "./sheet.js";

const MOST = 8;
const EARLIER = 20;
/** Earlier batches from which the gateway tells limits. */
const LEAST = 3;
const POINTS = 100;
const PERIOD_MS = 15_000;
/** Alarms of the whole plant in the time of the batch that are looked through at most. */
const ALARMS = 2000;
const CLASSES = ["gmp_critical", "gmp", "safety", "environment", "other"];
/** What a batch model puts out in multiples of its limit. */
const JUDGED = ["t2", "spe"];

const within = (tag, edge, unit) => tag.edge === edge && (unitPath(tag) === unit || unitPath(tag).startsWith(`${unit}/`));

/** The batch model that looks at a unit: its stem and outputs, or null. */
function modelOf(edge, unit) {
  const names = new Set(plant.order.filter((tag) => within(tag, edge, unit)).map((tag) => tag.name));
  const outputs = plant.order.filter((tag) => tag.edge === edge && tag.model.startsWith("batch:") && tag.derived_from.some((name) => names.has(name)));
  const name = outputs.length ? stem(outputs[0].name) : "";
  return name ? { name, from: outputs[0].derived_from, outputs: Object.fromEntries(outputs.filter((tag) => stem(tag.name) === name).map((tag) => [tag.name.slice(name.length + 1), tag])) } : null;
}

export function batches(root, params) {
  let chosen = read(params);
  let all = [];
  let drawn = [];
  let closed = false;
  let turn = 0;
  let asked = 0;
  let known = "";
  const unitBox = h("select", { "aria-label": t("batches.unit") });
  const batchBox = h("select", { "aria-label": t("role.batch") });
  const phaseBox = h("select", { "aria-label": t("role.phase") });
  const axisBox = choice(["time", "maturity"].map((axis) => [axis, t(`batches.axis.${axis}`)]), chosen.axis);
  const axisField = field(t("batches.axis"), axisBox);
  const facts = h("p", { class: "quiet", role: "status" });
  const against = h("details", { class: "b-against" }, h("summary"), h("div", { class: "b-earlier" }));
  const grid = h("div", { class: "b-grid" });
  const findings = h("section", { class: "panel", "aria-label": t("batches.findings") });
  const empty = h("p", { class: "empty" });
  const body = h("div", { class: "k-lists", hidden: true }, h("section", { class: "panel" }, facts, against), grid, findings);
  root.append(h("div", { class: "office-page kpi-page batches-page" },
    h("div", { class: "bar" }, field(t("batches.unit"), unitBox), field(t("role.batch"), batchBox), field(t("role.phase"), phaseBox), axisField), empty, body));
  unitBox.addEventListener("change", () => choose({ unit: unitBox.value, batch: "", phase: "", against: null }));
  batchBox.addEventListener("change", () => choose({ batch: batchBox.value, against: null }));
  phaseBox.addEventListener("change", () => choose({ phase: phaseBox.value }));
  axisBox.addEventListener("change", () => choose({ axis: axisBox.value }));

  function read(source) {
    return { unit: source.get("unit") ?? "", batch: source.get("batch") ?? "", phase: source.get("phase") ?? "", axis: source.get("axis") === "maturity" ? "maturity" : "time", against: source.has("against") ? source.getAll("against").filter(Boolean) : null };
  }

  function choose(part) {
    chosen = { ...chosen, ...part };
    note("batches", { ...chosen, axis: chosen.axis === "time" ? "" : chosen.axis });
    load();
  }

  const unitKey = (row) => `${row.edge}:${row.unit}`;
  const words = (row) => `${row.batch} · ${shortStamp(row.from_ns / MS, plant.now())}${row.to_ns === null ? ` · ${t("batches.running")}` : ""}`;

  function options(box, rows, value) {
    const sight = rows.map((row) => row.join("\t")).join("\n");
    if (box.dataset.sight !== sight) {
      box.replaceChildren(...rows.map(([key, name]) => h("option", { value: key }, name)));
      box.dataset.sight = sight;
    }
    box.value = value;
  }

  function say(told) {
    body.hidden = true;
    empty.hidden = false;
    text(empty, told);
  }

  async function load() {
    asked = Date.now();
    const mine = turn += 1;
    const still = () => !closed && mine === turn;
    if (!plant.ready) {
      say(t("loading"));
      return;
    }
    try {
      const found = (await get("api/v1/batches?limit=2000")).batches;
      if (!still()) return;
      all = found;
      const units = [...new Set(all.map(unitKey))].sort();
      if (!units.length) {
        say(t("batches.none"));
        return;
      }
      if (!units.includes(chosen.unit)) chosen.unit = units.find((key) => all.some((row) => unitKey(row) === key && row.batch === chosen.batch) || key.endsWith(`/${chosen.unit}`)) ?? units[0];
      options(unitBox, units.map((key) => [key, key.slice(key.lastIndexOf("/") + 1).replace(/^.*:/, "")]), chosen.unit);
      const rows = all.filter((row) => unitKey(row) === chosen.unit);
      const of = chosen.batch ? rows.find((row) => row.batch === chosen.batch) : rows[0];
      options(batchBox, rows.map((row) => [row.batch, words(row)]), of?.batch ?? chosen.batch);
      if (!of) {
        say(t("batches.unknown", { batch: chosen.batch }));
        return;
      }
      chosen.batch = of.batch;
      const model = modelOf(of.edge, of.unit);
      axisField.hidden = !model?.outputs.maturity;
      axisBox.value = chosen.axis;
      await phases(of, rows);
      if (!still()) return;
      const earlier = rows.filter((row) => row.to_ns !== null && row.from_ns < of.from_ns).slice(0, EARLIER);
      compared(earlier);
      const tags = charted(of, model);
      if (!tags.length) {
        say(t("batches.noTags"));
        return;
      }
      empty.hidden = true;
      body.hidden = false;
      stand(tags);
      const query = (tag) => {
        const asked_ = new URLSearchParams({ tag: tag.key, unit: of.unit, batch: of.batch, points: POINTS });
        if (chosen.phase) asked_.set("phase", chosen.phase);
        if (chosen.axis === "maturity" && model?.outputs.maturity) asked_.set("maturity", model.outputs.maturity.key);
        for (const batch of chosen.against ?? []) asked_.append("against", batch);
        if (chosen.against?.length === 0) asked_.append("against", "");
        return `api/v1/course?${asked_}`;
      };
      const told = await Promise.all([happened(of, model, still).catch((error) => {
        if (!still()) return;
        findings.dataset.sight = "";
        findings.replaceChildren(h("h2", null, t("batches.findings")), h("p", { class: "empty" }, error.message));
      }), ...drawn.map(async (one) => {
        try {
          const row = await get(query(one.tag));
          if (still()) show(one, row);
          return row;
        } catch (error) {
          if (still()) text(one.verdict, error.message);
          return null;
        }
      })]);
      if (still()) tell(of, told.slice(1).find(Boolean));
    } catch (error) {
      if (still()) say(error.message);
    }
  }

  /** The phases that this batch and the one before it had. */
  async function phases(of, rows) {
    const tag = plant.order.find((one) => one.edge === of.edge && one.role === "phase" && unitPath(one) === of.unit);
    let names = [];
    if (tag) {
      const before = rows.find((row) => row.to_ns !== null && row.from_ns < of.from_ns) ?? of;
      const row = await textSeries(tag.key, before.from_ns / 1e9, (of.to_ns ?? plant.now() * MS) / 1e9, 2000);
      names = [...new Set(row.text)].filter(Boolean);
    }
    if (!names.includes(chosen.phase)) chosen.phase = "";
    options(phaseBox, [["", t("batches.whole")], ...names.map((name) => [name, name])], chosen.phase);
    phaseBox.disabled = !names.length;
  }

  function compared(earlier) {
    const sight = `${chosen.unit} ${chosen.batch} ${earlier.map((row) => row.batch)} ${chosen.against}`;
    if (sight === known) return;
    known = sight;
    const taken = (row) => chosen.against === null || chosen.against.includes(row.batch);
    text(against.firstChild, t("batches.against", { n: earlier.filter(taken).length }));
    against.lastChild.replaceChildren(...(earlier.length ? earlier.map((row) => {
      const box = h("input", { type: "checkbox", value: row.batch, checked: taken(row), onchange: () => choose({ against: [...against.querySelectorAll("input:checked")].map((one) => one.value) }) });
      return h("label", { class: "check" }, box, `${row.batch} · ${shortStamp(row.from_ns / MS, plant.now())} · ${span((row.to_ns - row.from_ns) / 1e9)}`);
    }) : [h("p", { class: "empty" }, t("batches.noEarlier"))]));
  }

  function charted(of, model) {
    const judged = model ? JUDGED.map((output) => model.outputs[output]).filter(Boolean) : [];
    const named = model ? model.from.map((name) => plant.tags.get(`${of.edge}:${name}`)).filter(Boolean) : [];
    const own = plant.order.filter((tag) => within(tag, of.edge, of.unit) && tag.kind === "numeric" && !tag.derived_from.length && !tag.model && tag.role === "value")
      .sort((a, b) => CLASSES.indexOf(a.class) - CLASSES.indexOf(b.class) || b.limits.length - a.limits.length);
    return [...new Set([...judged, ...named, ...own])].slice(0, MOST);
  }

  /** A place for each tag; those that stay are kept, so that nothing jumps while the batch goes on. */
  function stand(tags) {
    if (drawn.map((one) => one.tag.key).join() === tags.map((tag) => tag.key).join()) return;
    for (const one of drawn) one.chart?.destroy();
    drawn = tags.map((tag) => {
      const one = { tag, row: null, chart: null, judged: tag.model.startsWith("batch:") };
      one.value = h("span", { class: "p-value" });
      one.verdict = h("span", { class: "b-verdict" }, t("loading"));
      one.host = h("div", { class: "b-plot", role: "img", "aria-label": tagTitle(tag) });
      one.link = h("a", { class: "b-link", href: link("trends", { tag: tag.key }), title: t("alarm.trend"), "aria-label": `${t("alarm.trend")}: ${tagTitle(tag)}` }, "∿");
      one.node = h("section", { class: "panel b-pane", "data-tag": tag.key }, h("header", null, h("b", { class: "p-name", title: title(tag) }, title(tag)), one.value, one.link), one.verdict, one.host);
      return one;
    });
    grid.replaceChildren(...drawn.map((one) => one.node));
  }

  function title(tag) {
    return tag.model.startsWith("batch:") ? `${t(`output.${tag.name.slice(tag.name.lastIndexOf(".") + 1)}`)} · ${stem(stem(tag.name))}` : tagTitle(tag);
  }

  function show(one, row) {
    one.row = row;
    const last = row.value.findLast((value) => value !== null);
    text(one.value, last === undefined ? "—" : `${number(last, one.tag.decimals)} ${unitWord(one.tag.unit)}`.trim());
    const judged = one.judged || row.high.some((value) => value !== null);
    const out = lying(one);
    text(one.verdict, last === undefined ? t("batches.noValues") : judged ? verdict(one, out) : "");
    attribute(one.verdict, "data-out", out.length ? "" : null);
    if (row.from_ns !== null) attribute(one.link, "href", link("trends", { tag: row.tag, from: new Date(row.from_ns / MS).toISOString(), to: new Date((row.to_ns ?? plant.now() * MS) / MS).toISOString(), why: one.judged ? "1" : "" }));
    plot(one);
  }

  /** What is said of the moments at which there is something to compare with; a batch that lasts longer than the earlier ones leaves them behind. */
  function verdict({ row, judged }, out) {
    const newest = row.value.findLastIndex((value) => value !== null);
    if (out.at(-1) === newest) return t("batches.now");
    const limited = (i) => judged || row.high[i] !== null;
    const compared = row.value.some((value, i) => value !== null && limited(i));
    const beyond = !judged && row.high.findLastIndex((value) => value !== null) < newest;
    return [out.length ? t("batches.was") : compared && !beyond ? t("batches.inside") : "", beyond ? t("batches.beyond") : ""].filter(Boolean).join(" · ");
  }

  /** Moments at which it lay outside: of a tag as the gateway tells them, of a model's output above its limit. */
  function lying({ row, judged }) {
    return judged ? row.value.flatMap((value, i) => (value !== null && value > 1 ? [i] : [])) : row.outside;
  }

  function tell(of, row) {
    const end = of.to_ns === null ? plant.now() : of.to_ns / MS;
    text(facts, [t("batches.told", { batch: of.batch, from: stamp(of.from_ns / MS), lasted: span((end - of.from_ns / MS) / 1000) }), of.to_ns === null ? t("batches.running") : "", row?.from_ns === null ? t("batches.notBegun", { phase: chosen.phase }) : "", row ? row.against.length < LEAST ? t("batches.noLimits") : t("batches.band", { n: row.against.length }) : ""].filter(Boolean).join(" · "));
  }

  async function happened(of, model, still) {
    const found = await get(`api/v1/alarms?state=history&limit=${ALARMS}&from=${of.from_ns}&to=${of.to_ns ?? Math.round(plant.now()) * MS}`);
    if (!still()) return;
    const mine = found.alarms.filter((row) => {
      const tag = plant.tags.get(`${row.edge}:${row.tag}`);
      return tag && (within(tag, of.edge, of.unit) || (row.edge === of.edge && model && stem(row.tag) === model.name));
    });
    const why = mine.find((row) => model && stem(row.tag) === model.name && Object.keys(row.contributions).length);
    const full = found.alarms.length === ALARMS;
    const sight = `${of.batch} ${full} ${mine.map((row) => `${row.occurrence}${row.state}`)} ${why?.occurrence ?? ""}`;
    if (findings.dataset.sight === sight) return;
    findings.dataset.sight = sight;
    findings.replaceChildren(h("h2", null, t("batches.findings")),
      why ? h("div", { class: "b-reasons" }, h("p", null, h("b", null, alarmTitle(why)), " ", h("span", { class: "quiet" }, stamp(why.raised_ns / MS))), ...explanation(why)) : "",
      mine.length ? h("ul", { class: "plain b-list" }, mine.slice(0, 20).map((row) => h("li", null, h("button", { type: "button", class: "why-finding", onclick: () => openAlarm(row.occurrence, row) },
        mark(row), h("span", { class: "title" }, alarmTitle(row)), h("span", { class: "quiet" }, `${shortStamp(row.raised_ns / MS, plant.now())} · ${stateWord(row.state)}`))))) : h("p", { class: "empty" }, t(full ? "batches.noneOfNewest" : "batches.noFindings")),
      full ? h("p", { class: "quiet" }, t("batches.newest", { n: ALARMS })) : "",
      mine.length > 20 ? h("p", { class: "quiet" }, t("spc.more", { n: mine.length - 20 })) : "");
  }

  const moment = (x, axis) => (axis === "maturity" ? `${number(100 * x, 0)} %` : `${Math.floor(x / 3600)}:${String(Math.floor((x % 3600) / 60)).padStart(2, "0")}`);

  function plot(one) {
    const { row, host } = one;
    one.chart?.destroy();
    one.chart = null;
    if (!row || !host.clientWidth) return;
    const ink = () => color("quiet");
    const limit = one.judged ? row.at.map(() => 1) : null;
    const bare = row.at.map(() => null);
    const [low, middle, high] = one.judged ? [bare, bare, limit] : [row.low, row.middle, row.high];
    const seen = [...row.value, ...low, ...high].filter((value) => value !== null);
    const [least, most] = seen.length ? [Math.min(...seen), Math.max(...seen)] : [0, 1];
    const room = (most - least || Math.abs(most) || 1) * 0.08;
    const edge = { stroke: () => color("outline"), width: 1, dash: [5, 4], points: { show: false } };
    // Pointer and keys of one chart move the cursor in all: the same moment of the batch in each tag.
    one.chart = new uPlot({
      width: host.clientWidth, height: rem(10.5), legend: { show: false }, padding: [8, 12, 0, 0],
      cursor: { sync: { key: "course" }, drag: { x: false, y: false }, y: false, points: { size: rem(0.4) } },
      scales: { x: { time: false }, y: { range: () => [least - room, most + room] } },
      axes: [{ stroke: ink, font: font(0.72), grid: { stroke: () => color("grid"), width: 1 }, values: (_u, splits) => splits.map((x) => moment(x, row.axis)), size: rem(1.8), incrs: row.axis === "time" ? [60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400] : undefined },
        { stroke: ink, font: font(0.72), grid: { stroke: () => color("grid"), width: 1 }, size: rem(3.8) }],
      series: [{}, edge, { stroke: () => color("quiet"), width: 1, points: { show: false } }, edge, { stroke: () => color("trace"), width: 2, points: { show: false } }],
      bands: one.judged ? [] : [{ series: [3, 1], fill: () => color("band") }],
      hooks: {
        draw: [(u) => outside(u, one)],
        setCursor: [(u) => pointed(one, u.cursor.idx)],
      },
    }, [row.at, low, middle, high, row.value], host);
  }

  /** Moments outside the limits: a mark at the line, beside its colour a shape. */
  function outside(u, one) {
    const { row } = one;
    const ratio = devicePixelRatio || 1;
    u.ctx.save();
    u.ctx.strokeStyle = color("ink");
    u.ctx.lineWidth = 1.5 * ratio;
    for (const i of lying(one)) {
      u.ctx.beginPath();
      u.ctx.arc(u.valToPos(row.at[i], "x", true), u.valToPos(row.value[i], "y", true), 3.5 * ratio, 0, 2 * Math.PI);
      u.ctx.stroke();
    }
    u.ctx.restore();
  }

  function pointed(one, index) {
    const { row, tag } = one;
    if (index === null || index === undefined) {
      const last = row.value.findLast((value) => value !== null);
      text(one.value, last === undefined ? "—" : `${number(last, tag.decimals)} ${unitWord(tag.unit)}`.trim());
      return;
    }
    text(one.value, `${moment(row.at[index], row.axis)} ▸ ${number(row.value[index], tag.decimals)} ${unitWord(tag.unit)}`.trim());
  }

  const resized = new ResizeObserver(() => { for (const one of drawn) if (one.chart && Math.abs(one.chart.width - one.host.clientWidth) > 2) plot(one); });
  resized.observe(grid);
  load();
  return {
    refresh: () => {
      // What could not be shown is asked for again, as is a batch that goes on.
      const open = body.hidden || all.some((row) => unitKey(row) === chosen.unit && row.batch === chosen.batch && row.to_ns === null);
      if (plant.live && !document.hidden && open && Date.now() - asked > PERIOD_MS) load();
    },
    rebuild: load,
    recolor: () => { for (const one of drawn) plot(one); },
    params: (next) => { chosen = read(next); load(); },
    close: () => { closed = true; resized.disconnect(); for (const one of drawn) one.chart?.destroy(); },
  };
}
