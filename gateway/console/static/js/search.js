// Find a tag by any part of its name, description or unit.

import { h, text } from "./dom.js";
import { number, plain, unit } from "./format.js";
import { t } from "./i18n.js";
import { tagTitle } from "./marks.js";
import { plant } from "./plant.js";

const MOST = 60;

export function found(words) {
  const parts = words.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = plant.order.filter((tag) => parts.every((part) => tag.find.includes(part)));
  // What is measured first: a model makes several tags of each.
  return hits.sort((a, b) => !!(a.derived_from.length || a.model) - !!(b.derived_from.length || b.model));
}

/** Ask for a tag; `take(tag)` is called with the one chosen. */
export function search(take) {
  if (document.querySelector("dialog[open]")) return;
  let hits = [];
  let at = 0;
  const input = h("input", { type: "search", placeholder: t("search.words"), "aria-label": t("search.title"), autocomplete: "off", spellcheck: "false", role: "combobox", "aria-expanded": "true" });
  const list = h("div", { class: "hits", role: "listbox" });
  const count = h("p", { class: "quiet" });
  const dialog = h("dialog", { class: "search", "aria-label": t("search.title") }, input, list, count);

  function draw() {
    hits = found(input.value);
    at = Math.max(0, Math.min(at, hits.length - 1));
    list.replaceChildren(...hits.slice(0, MOST).map((tag, i) => h("button", { type: "button", role: "option", "aria-selected": i === at ? "true" : "false", "data-key": tag.key, onclick: () => choose(tag) },
      h("span", { class: "i-name" }, tagTitle(tag)), h("span", { class: "i-code" }, `${tag.edge} · ${tag.name}`),
      h("span", { class: "n" }, tag.kind === "text" ? tag.value ?? "" : `${number(tag.value, tag.decimals)} ${unit(tag.unit)}`))));
    text(count, hits.length ? t("search.count", { n: plain(hits.length), shown: plain(Math.min(MOST, hits.length)) }) : t("search.none"));
    list.children[at]?.scrollIntoView({ block: "nearest" });
  }

  function choose(tag) {
    if (!tag) return;
    dialog.close();
    take(tag);
  }

  input.addEventListener("input", () => { at = 0; draw(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      at = Math.max(0, Math.min(Math.min(MOST, hits.length) - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      draw();
      event.preventDefault();
    } else if (event.key === "Enter") {
      choose(hits[at]);
      event.preventDefault();
    }
    event.stopPropagation();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  input.focus();
  draw();
}
