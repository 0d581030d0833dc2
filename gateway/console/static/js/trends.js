// Trends: any tags on one time axis, live or frozen, zoomed by dragging, with everything that happened marked on them.

import { attribute, h, text } from "./dom.js";
import { clock, utc, zoneName, zoneOffset } from "./format.js";
import { t } from "./i18n.js";
import { Pane, picture, spanTitle } from "./chart.js";
import { happenings, series, textSeries } from "./happenings.js";
import { plant } from "./plant.js";
import { link, note } from "./route.js";
import { notice } from "./notice.js";
import { search } from "./search.js";

const SPANS = [300, 3600, 28800, 86400, 604800, 2592000];
const MOST_TAGS = 8;
const POINTS = 1000;

export function trends(root, params) {
  let view = read(params);
  let panes = [];
  let asked = 0;
  let loadedSpan = "";
  let history = [];
  let closed = false;

  const ranges = SPANS.map((s) => h("button", { type: "button", "data-span": s, onclick: () => setSpan(s) }, t(`range.${s}`)));
  const live = h("button", { type: "button", class: "live", onclick: () => (view.live ? freeze() : goLive()) });
  const spanText = h("span", { class: "span-text" });
  const pointed = h("span", { class: "pointed" });
  const spectra = h("a", { href: link("spectra", {}), title: "g n", hidden: true }, t("page.spectra"));
  const list = h("div", { class: "panes" });
  const empty = h("div", { class: "empty panel" });
  root.append(h("div", { class: "trends-page" },
    h("div", { class: "bar" },
      h("button", { type: "button", class: "primary", onclick: () => search(add) }, `+ ${t("trends.add")}`),
      h("div", { class: "tabs" }, ranges), live,
      h("div", { class: "steps" },
        h("button", { type: "button", "aria-label": t("trends.back"), title: t("trends.back"), onclick: () => shift(-0.5) }, "◀"),
        h("button", { type: "button", "aria-label": t("trends.out"), title: t("trends.out"), onclick: () => scale(2) }, "−"),
        h("button", { type: "button", "aria-label": t("trends.in"), title: t("trends.in"), onclick: () => scale(0.5) }, "+"),
        h("button", { type: "button", "aria-label": t("trends.forward"), title: t("trends.forward"), onclick: () => shift(0.5) }, "▶")),
      h("span", { class: "span-line" }, spanText, pointed), h("span", { class: "push" }), spectra,
      h("button", { type: "button", onclick: saveCsv }, "CSV"), h("button", { type: "button", onclick: savePng }, "PNG")),
    list, empty));
  const size = new ResizeObserver(() => layout());
  size.observe(list);

  function read(from) {
    const keys = [...new Set(from.getAll("tag"))].slice(0, MOST_TAGS);
    const a = Date.parse(from.get("from") ?? "") / 1000;
    const b = Date.parse(from.get("to") ?? "") / 1000;
    if (Number.isFinite(a) && Number.isFinite(b) && b > a) return { keys, live: false, from: a, to: b };
    const span = Math.min(31_536_000, Math.max(10, Number(from.get("span")) || 3600));
    return { keys, live: true, span };
  }

  function address(step) {
    const iso = (s) => new Date(s * 1000).toISOString();
    note("trends", view.live ? { tag: view.keys, span: view.span } : { tag: view.keys, from: iso(view.from), to: iso(view.to) }, { step });
  }

  function bounds() {
    if (!view.live) return { from: view.from, to: view.to };
    const to = plant.now() / 1000;
    return { from: to - view.span, to };
  }

  function setSpan(span) {
    const { to } = bounds();
    view = view.live ? { ...view, span } : { ...view, from: to - span, to };
    address(true);
    reload();
  }

  function goLive() {
    const { from, to } = bounds();
    view = { keys: view.keys, live: true, span: Math.round(to - from) };
    address(true);
    reload();
  }

  function freeze() {
    view = { keys: view.keys, live: false, ...bounds() };
    address(true);
    reload();
  }

  function zoom(from, to) {
    if (!(to - from > 0.05)) return;
    view = { keys: view.keys, live: false, from: Math.round(from * 1000) / 1000, to: Math.round(to * 1000) / 1000 };
    address(true);
    reload();
  }

  function scale(factor) {
    const { from, to } = bounds();
    const middle = view.live ? to : (from + to) / 2;
    const half = ((to - from) / 2) * factor;
    if (view.live) setSpan(Math.max(10, Math.round((to - from) * factor)));
    else zoom(middle - half, middle + half);
  }

  function shift(part) {
    const { from, to } = bounds();
    const by = (to - from) * part;
    zoom(from + by, to + by);
  }

  function add(tag) {
    if (view.keys.includes(tag.key)) return;
    if (view.keys.length >= MOST_TAGS) {
      notice(t("trends.full", { n: MOST_TAGS }));
      return;
    }
    view = { ...view, keys: [...view.keys, tag.key] };
    address(true);
    build();
  }

  function remove(key) {
    view = { ...view, keys: view.keys.filter((k) => k !== key) };
    address(true);
    build();
  }

  function build() {
    for (const pane of panes) pane.close();
    panes = (plant.ready ? view.keys : []).map((key) => new Pane(key, {
      view: bounds, zoom, out: () => scale(2), remove: () => remove(key),
      over: (s) => text(pointed, s === null ? "" : `▸ ${clock(s * 1000)}`),
    }));
    if (panes.length) panes.at(-1).last = true;
    list.replaceChildren(...panes.map((pane) => pane.node));
    list.hidden = panes.length === 0;
    empty.hidden = panes.length > 0;
    if (!plant.ready) {
      empty.replaceChildren(h("p", null, t("loading")));
      return;
    }
    empty.replaceChildren(h("p", null, t("trends.empty")), h("p", { class: "quiet" }, t("trends.hint")), h("button", { type: "button", class: "primary", onclick: () => search(add) }, `+ ${t("trends.add")}`));
    layout();
    reload();
  }

  function layout() {
    const least = 130;
    const lanes = panes.filter((pane) => pane.isText).length;
    const room = list.clientHeight - panes.reduce((sum, pane) => sum + (pane.isText ? (pane.last ? 104 : 70) : 0), 0);
    const each = Math.max(least, Math.floor(room / Math.max(1, panes.length - lanes)) - 8);
    for (const pane of panes) {
      const height = `${pane.isText ? (pane.last ? 96 : 62) : each}px`;
      if (pane.node.style.height !== height) pane.node.style.height = height;
      pane.draw();
    }
  }

  async function reload() {
    bar();
    asked = Date.now();
    const { from, to } = bounds();
    const sight = `${view.keys} ${view.live} ${from} ${to}`;
    loadedSpan = sight;
    const current = panes;
    await Promise.all([
      ...current.map(async (pane) => {
        if (!pane.tag) {
          pane.fail(t("trends.unknownTag", { tag: pane.key }));
          return;
        }
        try {
          const row = await (pane.isText ? textSeries : series)(pane.key, from, to, POINTS);
          if (loadedSpan === sight && !closed) pane.show(row);
        } catch (error) {
          if (loadedSpan === sight && !closed) pane.fail(error.message);
        }
      }),
      happened(current, { from, to }, sight),
    ]);
  }

  async function happened(current, view_, sight) {
    try {
      const found = await happenings(current, view_, POINTS, () => loadedSpan === sight && !closed);
      if (!found) return;
      history = found;
      markAlarms();
      for (const pane of current) pane.draw();
    } catch {
      // Marks are an addition; the panes themselves tell when the gateway does not answer.
      history = [];
    }
  }

  function markAlarms() {
    for (const pane of panes) pane.alarms = history.filter((row) => `${row.edge}:${row.tag}` === pane.key);
  }

  function bar() {
    const { from, to } = bounds();
    for (const button of ranges) attribute(button, "aria-pressed", Math.abs(to - from - Number(button.dataset.span)) < 1);
    text(live, view.live ? t("trends.live") : t("trends.frozen"));
    attribute(live, "aria-pressed", view.live);
    attribute(live, "title", view.live ? t("trends.freeze") : t("trends.goLive"));
    text(spanText, `${spanTitle(from, to)} ${zoneOffset(to * 1000)}`);
    attribute(spanText, "title", `${utc(from * 1000)} – ${utc(to * 1000)}`);
  }

  function save(name, url) {
    const a = h("a", { href: url, download: name });
    document.body.append(a);
    a.click();
    a.remove();
  }

  function saveCsv() {
    const { from, to } = bounds();
    for (const key of view.keys) save("", `api/v1/series?tag=${encodeURIComponent(key)}&from=${Math.round(from * 1000)}000000&to=${Math.round(to * 1000)}000000&points=10000&format=csv`);
  }

  function savePng() {
    const { from, to } = bounds();
    const sheet = picture(panes, `${spanTitle(from, to)} ${zoneOffset(to * 1000)} ${zoneName()}`);
    sheet?.toBlob((blob) => {
      const url = URL.createObjectURL(blob);
      save(`trend-${new Date(from * 1000).toISOString().slice(0, 19).replaceAll(":", "")}.png`, url);
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
    });
  }

  function refresh() {
    spectra.hidden = ![...plant.tags.values()].some((tag) => tag.kind === "block");
    if (!view.live || document.hidden) return;
    const every = Math.min(30_000, Math.max(1000, (view.span / POINTS) * 2000));
    if (plant.live && Date.now() - asked >= Math.max(every, 5000)) {
      reload();
      return;
    }
    bar();
    for (const pane of panes) {
      if (plant.live) pane.extend();
      pane.draw();
    }
  }

  function changed(event) {
    const place = new Map(history.map((row, i) => [row.occurrence, i]));
    for (const row of event.detail) {
      if (place.has(row.occurrence)) history[place.get(row.occurrence)] = row;
      else history.unshift(row);
    }
    markAlarms();
  }
  plant.addEventListener("alarms", changed);
  build();
  return {
    refresh,
    rebuild: build,
    add,
    recolor: () => { for (const pane of panes) { pane.reset(); pane.draw(); } },
    params: (next) => {
      const before = view.keys.join("\n");
      view = read(next);
      if (before === view.keys.join("\n")) reload();
      else build();
    },
    close: () => {
      closed = true;
      size.disconnect();
      plant.removeEventListener("alarms", changed);
      for (const pane of panes) pane.close();
    },
  };
}
