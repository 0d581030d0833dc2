// A list of any length: only the rows in sight exist.

import { h } from "./dom.js";

export class Rows {
  #pool = [];
  #count = 0;
  #height = 0;

  /** `make()` builds one row node, `show(node, index)` fills it; `--row` of the stylesheet is its height. */
  constructor({ make, show, label }) {
    this.make = make;
    this.show = show;
    this.spacer = h("div", { class: "rows-spacer" });
    this.node = h("div", { class: "rows", tabindex: "0", role: "grid", "aria-label": label }, this.spacer);
    this.node.addEventListener("scroll", () => this.refresh(), { passive: true });
    this.size = new ResizeObserver(() => this.measure());
    this.size.observe(this.node);
  }

  measure() {
    const probe = h("div", { class: "row-probe" });
    this.node.append(probe);
    const height = probe.getBoundingClientRect().height;
    probe.remove();
    this.#height = height;
    this.count(this.#count);
  }

  count(n) {
    this.#count = n;
    if (!this.#height) return;
    this.spacer.style.height = `${n * this.#height}px`;
    this.refresh();
  }

  refresh() {
    if (!this.#height) return;
    const top = this.node.scrollTop;
    const first = Math.max(0, Math.floor(top / this.#height) - 3);
    const most = Math.ceil(this.node.clientHeight / this.#height) + 6;
    const wanted = Math.max(0, Math.min(most, this.#count - first));
    while (this.#pool.length < wanted) {
      const node = this.make();
      node.classList.add("row");
      if (node.getAttribute("role") === "row") for (const cell of node.children) cell.setAttribute("role", "gridcell");
      this.#pool.push(node);
      this.spacer.append(node);
    }
    // A row keeps its node while it stays in sight, so that focus and pointer stay where they are.
    for (let k = 0; k < this.#pool.length; k += 1) {
      const slot = this.#pool.length;
      const index = first + ((((k - first) % slot) + slot) % slot);
      const node = this.#pool[k];
      node.hidden = index >= first + wanted;
      if (node.hidden) continue;
      const y = `translateY(${index * this.#height}px)`;
      if (node.style.transform !== y) node.style.transform = y;
      node.setAttribute("aria-rowindex", index + 1);
      this.show(node, index);
    }
  }

  reveal(index) {
    const top = index * this.#height;
    if (top < this.node.scrollTop) this.node.scrollTop = top;
    else if (top + this.#height > this.node.scrollTop + this.node.clientHeight) this.node.scrollTop = top + this.#height - this.node.clientHeight;
  }

  close() {
    this.size.disconnect();
  }
}
