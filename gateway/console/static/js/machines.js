// Machine health and process records: maintenance advice that waits for a decision, what each machine's models say, and energy, OEE and cold chain.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { color, h, rem, text } from "./dom.js";
import { font, timeLabels } from "./drawing.js";
import { number, plain, span, stamp, unit, utc, zoneName } from "./format.js";
import { series } from "./happenings.js";
import { language, t } from "./i18n.js";
import { tagTitle } from "./marks.js";
import { notice } from "./notice.js";
import { get, MS, plant } from "./plant.js";
import { link, note } from "./route.js";
import { ask, session } from "./session.js";
import { choice, field, input, sheet } from "./sheet.js";

const PERIOD_MS = 20_000;
const DAY_S = 86_400;
const MODELS = /^(.+)\.(wear|remaining|energy|oee|cold_chain|sterilisation)\.(\w+)$/;
const VIBRATION = /^(.+)\.(velocity|zone|rms|peak|crest|kurtosis|level|order1|order2|order3|cage|outer|inner|ball|cage_hz|outer_hz|inner_hz|ball_hz|fault|envelope)$/;
const PARTS = ["outer", "inner", "ball", "cage"];
const FEATURES = ["velocity", "order1", "order2", "order3", "rms", "peak", "crest", "kurtosis"];
/** A line this many times above the floor of the envelope is there. */
const CLEAR = 4;
/** Figures of the tiles: [output, decimals, whether a value calls for a look]. */
const TILES = {
  cold_chain: [["mkt", 2], ["budget", 0, (v) => v < 25], ["excursion", 0, (v) => v > 0], ["known", 0, (v) => v < 75]],
  sterilisation: [["f0", 1], ["exposure", 1], ["spread", 1, (v) => v > 2], ["saturation", 1, (v) => Math.abs(v) > 2]],
  energy: [["used", 1], ["batch", 1], ["enpi", 2, (v) => v > 1.1], ["saved", 0]],
  oee: [["oee", 0], ["availability", 0], ["performance", 0], ["quality", 1], ["running", 0]],
};
/** Outputs that may well be empty: they come once for each batch or shift. */
const RARE = new Set(["batch", "enpi", "saved", "last"]);
const OUTCOMES = ["confirmed", "other_fault", "no_fault"];

export function machines(root, params) {
  let chosen = params.get("machine") ?? "";
  let found = { advice: [], counts: [], machines: [] };
  let missing = "";
  let drawn = "";
  let last = 0;
  let charts = [];
  let closed = false;
  let turn = 0;
  const advice = h("section", { class: "panel m-advice" });
  const cards = h("div", { class: "m-cards" });
  const detail = h("section", { class: "panel m-detail", hidden: true });
  const tiles = h("div", { class: "m-cards" });
  const empty = h("p", { class: "empty", hidden: true }, t("machines.none"));
  root.append(h("div", { class: "office-page machines-page" }, advice, cards, detail, tiles, empty));

  /** Tags by what they are about: machines with the models over them, and process records. */
  function gather() {
    const assets = new Map();
    const records = [];
    const asset = (edge, name) => {
      const key = `${edge}:${name}`;
      if (!assets.has(key)) assets.set(key, { key, edge, name, vibration: {}, wear: [], remaining: null });
      return assets.get(key);
    };
    const zones = new Set();
    for (const tag of plant.tags.values()) if (tag.name.endsWith(".zone")) zones.add(`${tag.edge}:${tag.name.slice(0, -5)}`);
    const models = new Map();
    for (const tag of plant.tags.values()) {
      const model = MODELS.exec(tag.name);
      if (model) {
        const key = `${tag.edge}:${model[1]}.${model[2]}`;
        if (!models.has(key)) models.set(key, { key, edge: tag.edge, base: model[1], kind: model[2], outputs: {} });
        models.get(key).outputs[model[3]] = tag;
        continue;
      }
      const vibration = VIBRATION.exec(tag.name);
      if (vibration && zones.has(`${tag.edge}:${vibration[1]}`)) asset(tag.edge, vibration[1]).vibration[vibration[2]] = tag;
    }
    for (const model of models.values()) {
      if (TILES[model.kind]) { records.push(model); continue; }
      const over = VIBRATION.exec(model.base);
      const name = over && zones.has(`${model.edge}:${over[1]}`) ? over[1] : model.base;
      if (model.kind === "wear") asset(model.edge, name).wear.push(model);
      else asset(model.edge, name).remaining = model;
    }
    return { assets: [...assets.values()].sort((a, b) => worst(a) - worst(b) || a.name.localeCompare(b.name)), records: records.sort((a, b) => a.kind.localeCompare(b.kind) || a.base.localeCompare(b.base)) };
  }

  /** The newest value where it counts now: of an edge that is gone nothing is known. */
  const value = (tag) => (tag && typeof tag.value === "number" && Number.isFinite(tag.value) && ["good", "uncertain"].includes(plant.quality(tag).quality) ? tag.value : null);

  /** Lowest health of a machine: 1 as when new, 0 worn. A zone counts as health too, so that the worst comes first. */
  function worst(a) {
    const all = [...a.wear.map((m) => value(m.outputs.health)), value(a.remaining?.outputs.health), { 1: 1, 2: 0.8, 3: 0.4, 4: 0.1 }[value(a.vibration.zone)] ?? null];
    return Math.min(2, ...all.filter((v) => v !== null));
  }

  const shown = (tag, digits) => (value(tag) === null ? "—" : `${number(value(tag), digits ?? tag.decimals ?? 2)} ${unit(tag.unit)}`.trim());
  const grade = (v) => (v > 0.8 ? "good" : v > 0.5 ? "watch" : v > 0.3 ? "plan" : "act");

  function meter(v) {
    if (v === null) return h("span", { class: "quiet" }, "—");
    const filled = h("i");
    filled.style.width = `${Math.round(100 * v)}%`;
    return h("span", { class: "m-health" }, h("span", { class: "m-bar", role: "img", "aria-label": `${plain(Math.round(100 * v))} %` }, filled), h("b", null, `${plain(Math.round(100 * v))} %`), h("span", { class: v > 0.5 ? "quiet" : "trouble" }, t(`machines.grade.${grade(v)}`)));
  }

  /** How long it still runs, with the range that must never be left out. */
  function life(outputs) {
    const [rul, low, high] = [outputs.rul, outputs.rul_low, outputs.rul_high].map(value);
    // Where no estimate follows any more, as behind a repair, nothing is told and the number of before stands: it is older than the health of the same mean.
    if (rul === null || (outputs.health && outputs.rul.time_ns < outputs.health.time_ns)) return h("span", { class: "quiet" }, t("machines.noLife"));
    const in_ = outputs.rul.unit === "h" ? (v) => (v > 72 ? t("machines.days", { n: plain(Math.round(v / 24)) }) : span(Math.round(v) * 3600)) : (v) => t("machines.cycles", { n: plain(Math.round(v)) });
    return rul <= 0 ? h("span", { class: "trouble" }, t("machines.passed")) : h("span", null, h("b", null, in_(rul)), h("span", { class: "quiet m-life" }, `${in_(low)} … ${in_(high)}`));
  }

  function card(a) {
    const zone = value(a.vibration.zone);
    const fault = value(a.vibration.fault);
    const parts_ = PARTS.map((p) => [p, value(a.vibration[p])]).filter(([, v]) => v !== null && v >= CLEAR);
    return h("article", { class: "panel m-card", "data-machine": a.key },
      h("header", null, h("h2", null, h("button", { type: "button", class: "m-open", "aria-expanded": String(chosen === a.key), onclick: () => choose(chosen === a.key ? "" : a.key) }, a.name)),
        zone !== null ? h("span", { class: zone >= 3 ? "m-zone high" : "m-zone", title: t(`machines.zone.${"ABCD"[zone - 1]}`) }, t("machines.zone", { zone: "ABCD"[zone - 1] })) : null),
      h("dl", { class: "m-facts" }, [
        a.vibration.velocity ? fact(t("machines.velocity"), shown(a.vibration.velocity)) : null,
        fault ? fact(t("machines.signal"), h("span", { class: "trouble" }, faults(fault))) : null,
        a.vibration.outer ? fact(t("machines.bearing"), parts_.length ? h("span", { class: "trouble" }, parts_.map(([p, v]) => `${t(`machines.part.${p}`)} ×${plain(Math.round(v))}`).join(", ")) : h("span", { class: "quiet" }, t("machines.noLine"))) : null,
        a.wear.map((m) => [fact(t("machines.healthOf", { tag: title(m) }), meter(value(m.outputs.health))), fact(t("machines.life"), life(m.outputs))]),
        a.remaining ? [fact(t("machines.health"), meter(value(a.remaining.outputs.health))), fact(t("machines.life"), life(a.remaining.outputs))] : null, record(a)].flat(Infinity)));
  }

  /** What became of the advice about a machine so far: how far its models can be trusted here. */
  function record(a) {
    const mine = found.machines.filter((c) => c.edge === a.edge && (c.unit === a.name || c.unit.startsWith(`${a.name}.`) || c.unit === a.remaining?.base));
    const sum = (key) => mine.reduce((n, c) => n + c[key], 0);
    return mine.length ? fact(t("machines.record"), t("machines.recordOf", { given: plain(sum("given")), right: plain(sum("confirmed")), other: plain(sum("other_fault")), none: plain(sum("no_fault")) })) : null;
  }

  const title = (m) => { const tag = plant.tags.get(`${m.edge}:${m.base}`); return tag && !VIBRATION.test(m.base) ? tagTitle(tag) : VIBRATION.test(m.base) ? t(`machines.feature.${VIBRATION.exec(m.base)[2]}`) : m.base; };
  const fact = (word, node) => [h("dt", null, word), h("dd", null, node)];
  const faults = (bits) => [1, 2, 4, 8, 16].filter((b) => bits & b).map((b) => t(`machines.fault.${b}`)).join(", ");

  function tile(m) {
    return h("article", { class: "panel m-card", "data-record": m.key },
      h("header", null, h("h2", null, m.kind === "cold_chain" ? title(m) : m.base), h("span", { class: "quiet" }, t(`machines.kind.${m.kind}`))),
      h("dl", { class: "m-facts" }, TILES[m.kind].filter(([o]) => m.outputs[o] && !(RARE.has(o) && value(m.outputs[o]) === null)).map(([o, digits, bad]) => {
        const v = value(m.outputs[o]);
        const words = o === "running" && v !== null ? t(v ? "machines.runs" : "machines.stands") : shown(m.outputs[o], digits);
        return fact(h("a", { href: link("trends", { tag: m.outputs[o].key }) }, t(`machines.out.${o}`)), h("span", { class: v !== null && bad?.(v) ? "trouble" : null }, words));
      }).flat()));
  }

  // -- advice ---------------------------------------------------------------------------------------------------------------

  const said = (texts) => texts[language] ?? texts.en ?? "";

  function drawAdvice() {
    const open = found.advice.filter((a) => !a.decision && a.until_ns === null);
    const past = found.advice.filter((a) => a.decision || a.until_ns !== null);
    const may = session.user && session.may("decide_advice");
    advice.hidden = Boolean(missing) && !found.advice.length;
    const row = (a) => h("article", { class: "m-said", "data-advice": a.id },
      h("header", null, h("span", { class: a.advice.urgency === "act" ? "m-zone high" : "m-zone" }, t(`machines.urgency.${a.advice.urgency}`)), h("b", null, said(a.advice.what)), h("span", { class: "push" }), h("time", { class: "quiet", title: utc(a.time_ns / MS) }, stamp(a.time_ns / MS).slice(0, 16))),
      h("p", null, h("span", { class: "quiet" }, `${t("machines.why")} `), said(a.advice.why)),
      h("p", null, h("span", { class: "quiet" }, `${t("machines.soon")} `), said(a.advice.how_soon), h("span", { class: "quiet" }, ` ${t("machines.sure")} `), said(a.advice.how_sure)),
      a.decision ? decided(a, may) : a.until_ns !== null ? h("p", { class: "quiet" }, t("machines.over", { time: stamp(a.until_ns / MS).slice(0, 16) }))
        : may ? h("div", { class: "buttons" }, h("button", { type: "button", class: "primary", onclick: () => accept(a) }, t("machines.accept")), h("button", { type: "button", onclick: () => reject(a) }, t("machines.reject"))) : h("p", { class: "quiet" }, t("machines.login")));
    advice.replaceChildren(h("header", null, h("h2", null, t("machines.advice")), h("span", { class: "count", role: "status" }, t("machines.waiting", { n: open.length }))),
      ...(open.length ? open.map(row) : [h("p", { class: "quiet" }, t("machines.noAdvice"))]),
      ...(past.length ? [h("details", null, h("summary", null, t("machines.past", { n: past.length })), past.slice(0, 30).map(row), counts())] : []));
  }

  function decided(a, may) {
    const d = a.decision;
    return h("div", null,
      h("p", null, t(`machines.${d.state}`, { name: d.name || d.by, time: stamp(d.time_ns / MS).slice(0, 16) }), d.reason ? `: ${d.reason}` : "", d.receivers.length ? h("span", { class: "quiet" }, ` · ${t("machines.sent", { to: d.receivers.join(", ") })}`) : ""),
      d.outcome ? h("p", null, `${t("machines.outcome")}: ${t(`machines.outcome.${d.outcome}`)}`, d.renewed ? `, ${t("machines.asNew")}` : "", d.remark ? ` — ${d.remark}` : "") : null,
      may ? h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => outcome(a) }, t("machines.outcome"))) : null);
  }

  function counts() {
    return h("div", { class: "scroll-x" }, sheet([[t("machines.of"), (c) => t(`machines.kind.${c.kind}`)], ...["given", "accepted", "rejected", ...OUTCOMES].map((key) => [t(`machines.count.${key}`), (c) => plain(c[key]), "n"])], found.counts));
  }

  async function accept(a) {
    const reason = input({});
    let decision = null;
    const done = await ask({ title: t("machines.accept"), go: t("machines.accept"), first: reason, fields: [h("p", null, said(a.advice.what)), field(t("machines.remark"), reason)], act: async () => { ({ decision } = await session.send(`advice/${a.id}/accept`, "POST", { reason: reason.value.trim() })); } });
    if (done) { notice(t(decision?.receivers?.length ? "machines.thanks" : "machines.alone")); load(); }
  }

  async function reject(a) {
    const reason = input({ required: true });
    const done = await ask({ title: t("machines.reject"), go: t("machines.reject"), first: reason, fields: [h("p", null, said(a.advice.what)), h("p", { class: "quiet" }, t("machines.rejectTold")), field(t("machines.reason"), reason)], act: () => session.send(`advice/${a.id}/reject`, "POST", { reason: reason.value.trim() }) });
    if (done) load();
  }

  async function outcome(a) {
    const what = choice(OUTCOMES.map((o) => [o, t(`machines.outcome.${o}`)]), a.decision.outcome || "confirmed");
    const remark = input({});
    const renewed = h("input", { type: "checkbox", checked: Boolean(a.decision.renewed) });
    const done = await ask({ title: t("machines.outcome"), go: t("machines.save"), first: what, fields: [h("p", null, said(a.advice.what)), field(t("machines.outcome"), what), h("label", { class: "check" }, renewed, t("machines.renewed")), h("p", { class: "quiet" }, t("machines.told")), field(t("machines.remark"), remark)], act: () => session.send(`advice/${a.id}/outcome`, "POST", { outcome: what.value, renewed: renewed.checked, remark: remark.value.trim() }) });
    if (done) load();
  }

  // -- one machine ----------------------------------------------------------------------------------------------------------

  function choose(key) {
    chosen = key;
    note("machines", { machine: chosen });
    draw(true);
  }

  async function drawDetail(a) {
    const mine = ++turn;
    for (const chart of charts) chart.destroy();
    charts = [];
    detail.hidden = !a;
    if (!a) return;
    const lives = [...a.wear, a.remaining].filter(Boolean);
    const spectrum = h("div", { class: "k-plot" });
    const fans = lives.map((m) => h("div", { class: "m-fan" }));
    detail.replaceChildren(h("header", null, h("h2", null, a.name), h("span", { class: "push" }), h("button", { type: "button", onclick: () => choose("") }, t("close"))),
      a.vibration.velocity ? h("div", { class: "scroll-x" }, sheet([[t("machines.figure"), (f) => h("a", { href: link("trends", { tag: a.vibration[f].key }) }, t(`machines.feature.${f}`))], [t("kpi.value"), (f) => shown(a.vibration[f]), "n"]], FEATURES.filter((f) => a.vibration[f]))) : "",
      ...(a.vibration.envelope ? [h("h3", null, t("machines.envelope")), spectrum, h("div", { class: "scroll-x" }, sheet([[t("machines.line"), (p) => t(`machines.part.${p}`)], [t("machines.at"), (p) => shown(a.vibration[`${p}_hz`], 1), "n"], [t("machines.above"), (p) => h("span", { class: value(a.vibration[p]) >= CLEAR ? "trouble" : null }, value(a.vibration[p]) === null ? "—" : `× ${number(value(a.vibration[p]), 1)}`), "n"]], PARTS.filter((p) => a.vibration[p])))] : []),
      ...lives.flatMap((m, i) => [h("h3", null, t("machines.fan", { tag: m.kind === "wear" ? title(m) : m.base })), fans[i]]));
    if (a.vibration.envelope) {
      try {
        const to = Math.round(plant.now());
        const row = await get(`api/v1/blocks?tag=${encodeURIComponent(a.vibration.envelope.key)}&from=${to - DAY_S * 1000}000000&to=${to}000000&count=1`);
        if (closed || mine !== turn) return;
        if (row.values.length) charts.push(envelope(spectrum, { axis: row.axis, value: row.values.at(-1) }, a));
        else spectrum.replaceChildren(h("p", { class: "quiet" }, t("trends.noValues")));
      } catch (error) {
        if (!closed && mine === turn) spectrum.replaceChildren(h("p", { class: "quiet" }, error.message));
      }
    }
    for (const [i, m] of lives.entries()) {
      try {
        const now = plant.now() / 1000;
        const rows = await Promise.all(["health", "rul", "rul_low", "rul_high"].map((o) => series(m.outputs[o].key, now - 30 * DAY_S, now, 300)));
        if (closed || mine !== turn) return;
        const chart = fan(fans[i], m, rows);
        if (chart) charts.push(chart);
      } catch (error) {
        if (!closed && mine === turn) fans[i].replaceChildren(h("p", { class: "quiet" }, error.message));
      }
    }
  }

  const ink = () => color("quiet");

  /** The envelope's spectrum with the lines of the bearing and their harmonics. */
  function envelope(host, block, a) {
    const top = Math.max(...block.value.filter((v) => v !== null)) || 1;
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", t("machines.envelope"));
    return new uPlot({
      width: host.clientWidth || 800, height: rem(15), legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false }, y: { range: () => [0, 1.15 * top] } },
      axes: [{ stroke: ink, font: font(), grid: { show: false }, values: (_u, splits) => splits.map((s) => `${plain(s)} Hz`) }, { stroke: ink, font: font(), size: rem(4.2), grid: { stroke: () => color("grid"), width: 1 } }],
      series: [{}, { stroke: () => color("trace"), width: 1, points: { show: false } }],
      hooks: { draw: [(u) => {
        for (const part of PARTS) {
          const hz = value(a.vibration[`${part}_hz`]);
          if (hz === null) continue;
          const there = value(a.vibration[part]) >= CLEAR;
          for (let k = 1; k <= 3 && k * hz <= block.axis.at(-1); k++) rule(u, k * hz, there, k === 1 ? t(`machines.part.${part}`) : `${k}×`, PARTS.indexOf(part));
        }
      }] },
    }, [block.axis, block.value], host);
  }

  function rule(u, x, strong, name, row) {
    const at = Math.round(u.valToPos(x, "x", true)) + 0.5;
    const ratio = devicePixelRatio || 1;
    u.ctx.save();
    u.ctx.strokeStyle = color(strong ? "ink" : "outline");
    u.ctx.lineWidth = strong ? 2 * ratio : 1;
    u.ctx.setLineDash(strong ? [] : [4 * ratio, 4 * ratio]);
    u.ctx.beginPath();
    u.ctx.moveTo(at, u.bbox.top + rem(0.9) * ratio * row);
    u.ctx.lineTo(at, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
    if (strong || name.length > 2) {
      u.ctx.fillStyle = color(strong ? "ink" : "quiet");
      u.ctx.font = `${strong ? "600 " : ""}${font(0.72, ratio)}`;
      u.ctx.textBaseline = "top";
      u.ctx.textAlign = "left";
      u.ctx.fillText(name, at + 3 * ratio, u.bbox.top + rem(0.9) * ratio * row);
    }
    u.ctx.restore();
  }

  /** Health so far, and the fan of what may come: from the health now to worn out at the early, middle and late end of the range. */
  function fan(host, m, [health, rul, low, high]) {
    const at = (row) => row.time_ns.map((ns) => ns / 1e9);
    const hours = m.outputs.rul.unit === "h";
    const x = at(health);
    if (x.length < 2) { host.replaceChildren(h("p", { class: "quiet" }, t("trends.noValues"))); return null; }
    const now = plant.now() / 1000;
    const end = [low, rul, high].map((row) => row.last?.at?.(-1) ?? row.mean.at(-1) ?? null);
    const level = health.mean.at(-1);
    const known = hours && end.every((v) => v !== null && Number.isFinite(v)) && level > 0;
    const shows = Math.max(now - x[0], DAY_S);
    const until = known ? now + Math.min(end[2] * 3600, Math.max(3 * shows, 1.4 * end[1] * 3600)) : now;
    host.setAttribute("role", "img");
    host.setAttribute("aria-label", t("machines.fan", { tag: m.base }));
    return new uPlot({
      width: host.clientWidth || 800, height: rem(13), legend: { show: false }, cursor: { show: false },
      tzDate: (s) => uPlot.tzDate(new Date(s * 1000), zoneName()),
      scales: { x: { time: true, range: () => [x[0], until + 0.03 * (until - x[0])] }, y: { range: () => [0, 1.02] } },
      axes: [{ stroke: ink, font: font(), grid: { show: false }, values: timeLabels },
        { stroke: ink, font: font(), size: rem(4.2), values: (_u, splits) => splits.map((s) => `${plain(Math.round(100 * s))} %`), grid: { stroke: () => color("grid"), width: 1 } }],
      series: [{}, { stroke: () => color("trace"), width: 1.6, points: { show: false } }],
      hooks: { drawClear: [(u) => {
        if (!known) return;
        const px = (s) => u.valToPos(Math.min(s, until), "x", true);
        const y = (v) => u.valToPos(v, "y", true);
        /* Where the fan leaves the picture it is cut at its height there. */
        const foot = (s) => (s <= until ? 0 : level * (1 - (until - now) / (s - now)));
        const ends = end.map((v) => now + v * 3600);
        u.ctx.save();
        u.ctx.fillStyle = color("spread");
        u.ctx.beginPath();
        u.ctx.moveTo(px(now), y(level));
        u.ctx.lineTo(px(ends[0]), y(foot(ends[0])));
        if (ends[2] > until) u.ctx.lineTo(px(until), y(0));
        u.ctx.lineTo(px(ends[2]), y(foot(ends[2])));
        u.ctx.closePath();
        u.ctx.fill();
        u.ctx.strokeStyle = color("trace");
        u.ctx.setLineDash([6, 5]);
        u.ctx.beginPath();
        u.ctx.moveTo(px(now), y(level));
        u.ctx.lineTo(px(ends[1]), y(foot(ends[1])));
        u.ctx.stroke();
        u.ctx.restore();
      }] },
    }, [x, health.mean], host);
  }

  // -- all of it ------------------------------------------------------------------------------------------------------------

  async function load() {
    last = Date.now();
    try {
      found = await get("api/v1/advice");
      missing = "";
    } catch (error) {
      missing = error.message;
    }
    if (closed) return;
    drawAdvice();
  }

  function draw(anew = false) {
    const { assets, records } = gather();
    empty.hidden = assets.length + records.length > 0;
    const key = JSON.stringify([assets.map((a) => a.key), records.map((r) => r.key)]);
    cards.replaceChildren(...assets.map(card));
    tiles.replaceChildren(...records.map(tile));
    if (anew || key !== drawn) {
      drawn = key;
      drawDetail(assets.find((a) => a.key === chosen));
    }
  }

  const again = () => load();
  session.addEventListener("change", again);
  const resized = new ResizeObserver(() => charts[0] && Math.abs(charts[0].width - detail.clientWidth) > rem(4) && draw(true));
  resized.observe(detail);
  load();
  draw(true);
  return {
    refresh: () => { if (document.activeElement?.closest?.(".m-cards")) return; draw(); if (Date.now() - last > PERIOD_MS && plant.live) load(); },
    recolor: () => draw(true), rebuild: () => { drawAdvice(); draw(true); },
    params: (next) => { chosen = next.get("machine") ?? ""; draw(true); },
    close: () => { closed = true; resized.disconnect(); session.removeEventListener("change", again); for (const chart of charts) chart.destroy(); },
  };
}
