// A plain table of rows for pages of the office: cells are texts or nodes, headers are words of the dictionary.

import { h } from "./dom.js";

/** `columns`: [word, (row) => cell, class]; `mark(row)` gives attributes of a row. */
export function sheet(columns, rows, { caption = "", mark = () => null } = {}) {
  return h("table", { class: "sheet" }, caption ? h("caption", { class: "print-only" }, caption) : null,
    h("thead", null, h("tr", null, columns.map(([word, , kind]) => h("th", { scope: "col", class: kind }, word)))),
    h("tbody", null, rows.map((row) => h("tr", mark(row), columns.map(([, cell, kind]) => h("td", { class: kind }, cell(row)))))));
}

/** A labelled field of a form. */
export function field(label, node) {
  return h("label", null, label, node);
}

export function input(attributes) {
  return h("input", { type: "text", maxlength: 500, autocomplete: "off", ...attributes });
}

export function choice(options, value) {
  const node = h("select", null, options.map(([key, word]) => h("option", { value: key }, word)));
  node.value = value ?? options[0]?.[0] ?? "";
  return node;
}
