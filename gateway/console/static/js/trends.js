// Trends: any tags on one time axis, live or frozen, zoomed by dragging, with everything that happened marked on them.

import { attribute, h, text } from "./dom.js";
import { clock, utc, zoneName, zoneOffset } from "./format.js";
import { t } from "./i18n.js";
import { picture, spanTitle } from "./chart.js";
import { concerns, Panes } from "./panes.js";
import { called, compare, leading, plant } from "./plant.js";
import { link, note } from "./route.js";
import { notice } from "./notice.js";
import { search } from "./search.js";
import { Why } from "./why.js";

const SPANS = [300, 3600, 28800, 86400, 604800, 2592000];
const MOST_TAGS = 8;
const FEW = 4;
const POINTS = 1000;

export function trends(root, params) {
  let view = read(params);
  let asked = 0;
  let picked = null;
  let at = null;
  const panes = new Panes(POINTS, () => explain());
  const why = new Why({ chart: toggle, choose: (occurrence) => { view = { ...view, why: occurrence || "1" }; address(false); explain(); }, close: () => ask(false) });

  const ranges = SPANS.map((s) => h("button", { type: "button", "data-span": s, onclick: () => setSpan(s) }, t(`range.${s}`)));
  const live = h("button", { type: "button", class: "live", onclick: () => (view.live ? freeze() : goLive()) });
  const spanText = h("span", { class: "span-text" });
  const pointed = h("span", { class: "pointed" });
  const spectra = h("a", { href: link("spectra", {}), title: "g n", hidden: true }, t("page.spectra"));
  const list = h("div", { class: "panes" });
  const empty = h("div", { class: "empty panel" });
  const whyButton = h("button", { type: "button", title: "w", onclick: () => ask(!view.why) }, t("why.title"));
  root.append(h("div", { class: "trends-page" },
    h("div", { class: "bar" },
      h("button", { type: "button", class: "primary", onclick: () => search(add) }, `+ ${t("trends.add")}`),
      h("div", { class: "tabs" }, ranges), live,
      h("div", { class: "steps" },
        h("button", { type: "button", "aria-label": t("trends.back"), title: t("trends.back"), onclick: () => shift(-0.5) }, "◀"),
        h("button", { type: "button", "aria-label": t("trends.out"), title: t("trends.out"), onclick: () => scale(2) }, "−"),
        h("button", { type: "button", "aria-label": t("trends.in"), title: t("trends.in"), onclick: () => scale(0.5) }, "+"),
        h("button", { type: "button", "aria-label": t("trends.forward"), title: t("trends.forward"), onclick: () => shift(0.5) }, "▶")),
      h("span", { class: "span-line" }, spanText, pointed), h("span", { class: "push" }), spectra, whyButton,
      h("button", { type: "button", onclick: saveCsv }, "CSV"), h("button", { type: "button", onclick: savePng }, "PNG")),
    h("div", { class: "trends-body" }, list, empty, why.node)));
  const size = new ResizeObserver(() => layout());
  size.observe(list);

  function read(from) {
    const keys = [...new Set(from.getAll("tag"))].slice(0, MOST_TAGS);
    const a = Date.parse(from.get("from") ?? "") / 1000;
    const b = Date.parse(from.get("to") ?? "") / 1000;
    const told = from.get("why") ?? "";
    if (Number.isFinite(a) && Number.isFinite(b) && b > a) return { keys, why: told, live: false, from: a, to: b };
    const span = Math.min(31_536_000, Math.max(10, Number(from.get("span")) || 3600));
    return { keys, why: told, live: true, span };
  }

  function address(step) {
    const iso = (s) => new Date(s * 1000).toISOString();
    note("trends", { tag: view.keys, ...(view.live ? { span: view.span } : { from: iso(view.from), to: iso(view.to) }), why: view.why }, { step });
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
    view = { keys: view.keys, why: view.why, live: true, span: Math.round(to - from) };
    address(true);
    reload();
  }

  function freeze() {
    view = { keys: view.keys, why: view.why, live: false, ...bounds() };
    address(true);
    reload();
  }

  function zoom(from, to) {
    if (!(to - from > 0.05)) return;
    view = { keys: view.keys, why: view.why, live: false, from: Math.round(from * 1000) / 1000, to: Math.round(to * 1000) / 1000 };
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

  function toggle(key) {
    const tag = plant.tags.get(key);
    if (view.keys.includes(key)) remove(key);
    else if (tag) add(tag);
  }

  /** The side with the explanation, opened or closed. */
  function ask(open) {
    view = { ...view, why: open ? view.why || "1" : "" };
    address(false);
    explain();
    layout();
    if (open) why.node.focus();
    else whyButton.focus();
  }

  /** The tag that is explained: the one that was pointed at, else the one of the chosen finding, else the first. */
  function subject() {
    if (view.keys.includes(picked)) return picked;
    const row = panes.history.find((one) => one.occurrence === view.why);
    return (row && view.keys.find((key) => concerns(row, key))) ?? view.keys[0] ?? "";
  }

  function explain() {
    why.node.hidden = !view.why || !plant.ready || !view.keys.length;
    attribute(whyButton, "aria-pressed", Boolean(view.why));
    if (why.node.hidden) return;
    const key = subject();
    for (const pane of panes.list) attribute(pane.node, "data-picked", pane.key === key ? "" : null);
    why.draw({ key, at, rows: panes.history, span: panes.span, chosen: view.why, shown: view.keys });
  }

  function point(key, s) {
    picked = key;
    at = s;
    explain();
  }

  /** A press on a mark leads to what is behind it. */
  function opened(key, row) {
    picked = key;
    at = null;
    view = { ...view, why: row.occurrence };
    address(false);
    explain();
    layout();
  }

  function build() {
    const keys = plant.ready ? view.keys : [];
    list.replaceChildren(...panes.build(keys, (key) => ({
      view: bounds, zoom, out: () => scale(2), remove: () => remove(key), point: (s) => point(key, s), mark: (row) => opened(key, row),
      over: (s) => text(pointed, s === null ? "" : `▸ ${clock(s * 1000)}`),
    })));
    list.hidden = keys.length === 0;
    empty.hidden = keys.length > 0;
    explain();
    if (!plant.ready) {
      empty.replaceChildren(h("p", null, t("loading")));
      return;
    }
    empty.replaceChildren(h("p", null, t("trends.empty")), h("p", { class: "quiet" }, t("trends.hint")), h("button", { type: "button", class: "primary", onclick: () => search(add) }, `+ ${t("trends.add")}`), ...offers());
    layout();
    reload();
  }

  /** What is most likely wanted where nothing is chosen: what is in alarm, and each unit. */
  function offers() {
    const alarmed = [...new Set(called().sort(compare).map((row) => `${row.edge}:${row.tag}`))].filter((key) => plant.tags.has(key)).slice(0, MOST_TAGS);
    const units = [...new Set(plant.order.map((tag) => tag.unitName))].map((name) => [name, leading(plant.order.filter((tag) => tag.unitName === name), FEW).map((tag) => tag.key)]);
    const known = [...(alarmed.length ? [[t("trends.alarmed"), alarmed]] : []), ...units.filter(([, keys]) => keys.length).slice(0, 12)];
    return known.length ? [h("div", { class: "offers" }, known.map(([name, keys]) => h("a", { class: "button", href: link("trends", { tag: keys, span: 3600 }) }, name)))] : [];
  }

  function layout() {
    const least = 130;
    const lanes = panes.list.filter((pane) => pane.isText).length;
    const room = list.clientHeight - panes.list.reduce((sum, pane) => sum + (pane.isText ? (pane.last ? 104 : 70) : 0), 0);
    const each = Math.max(least, Math.floor(room / Math.max(1, panes.list.length - lanes)) - 8);
    for (const pane of panes.list) {
      const height = `${pane.isText ? (pane.last ? 96 : 62) : each}px`;
      if (pane.node.style.height !== height) pane.node.style.height = height;
      pane.draw();
    }
  }

  function reload() {
    bar();
    asked = Date.now();
    panes.load({ ...bounds(), live: view.live });
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
    const sheet = picture(panes.list, `${spanTitle(from, to)} ${zoneOffset(to * 1000)} ${zoneName()}`);
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
    panes.draw();
    explain();
  }

  build();
  return {
    refresh,
    rebuild: build,
    add,
    why: () => ask(!view.why),
    recolor: () => panes.recolor(),
    params: (next) => {
      const before = view.keys.join("\n");
      view = read(next);
      explain();
      if (before === view.keys.join("\n")) reload();
      else build();
    },
    close: () => {
      size.disconnect();
      panes.close();
    },
  };
}
