// Short words at the foot of the screen; they never cover a dialog and go by themselves.

import { h } from "./dom.js";

let box = null;

export function notice(words, kind = "") {
  box ??= document.body.appendChild(h("div", { class: "notices", role: "status", "aria-live": "polite" }));
  const line = h("div", { class: `notice ${kind}` }, words);
  box.append(line);
  while (box.children.length > 4) box.firstChild.remove();
  setTimeout(() => line.remove(), kind === "bad" ? 10000 : 5000);
}
