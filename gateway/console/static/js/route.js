// Addresses: "#/trends?tag=...&span=3600". The same address shows the same thing; back goes back.

export function link(page, params) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params ?? {})) {
    if (value === undefined || value === null || value === "") continue;
    for (const item of Array.isArray(value) ? value : [value]) search.append(name, item);
  }
  // Slashes and colons of tag names stay readable in the address.
  const text = search.toString().replaceAll("%2F", "/").replaceAll("%3A", ":");
  return `#/${page}${text ? `?${text}` : ""}`;
}

export function place() {
  const [page, search = ""] = location.hash.replace(/^#\/?/, "").split("?");
  return { page: page || "overview", params: new URLSearchParams(search) };
}

export function go(page, params, { replace = false } = {}) {
  const address = link(page, params);
  if (address === location.hash) return;
  if (replace) {
    history.replaceState(null, "", address);
    dispatchEvent(new Event("hashchange"));
  } else location.hash = address;
}

/** Change the address without leaving the page: a step that back undoes, or a quiet correction. */
export function note(page, params, { step = false } = {}) {
  const address = link(page, params);
  if (address === location.hash) return;
  if (step) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
}
