// Elements are made here and nowhere else: every text becomes a text node, so a name from the plant is never read as markup.

function fill(node, attributes, children) {
  for (const [name, given] of Object.entries(attributes ?? {})) {
    const value = name.startsWith("aria-") && typeof given === "boolean" ? String(given) : given;
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.setAttribute("class", value);
    else if (name === "value" || name === "checked" || name === "disabled") node[name] = value;
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== undefined && child !== null && child !== false) node.append(child);
  }
  return node;
}

export function h(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

/** Change a text only when it differs, so that what stands still costs nothing. */
export function text(node, value) {
  const shown = value ?? "";
  if (node.textContent !== shown) node.textContent = shown;
}

export function attribute(node, name, value) {
  if (value === null || value === undefined || (value === false && !name.startsWith("aria-"))) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export function rem(n) {
  return n * parseFloat(getComputedStyle(document.documentElement).fontSize);
}

export function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
