// Who sits here. Without a session the page looks only: values and alarms stay, acting asks for a login.

import { h } from "./dom.js";
import { clock } from "./format.js";
import { t } from "./i18n.js";
import { MS, get } from "./plant.js";
import { notice } from "./notice.js";

const TOUCH_MS = 60_000;
const NOBODY = { accounts: false, user: null, csrf: "", ends_ns: null, sign: [] };

class Session extends EventTarget {
  state = NOBODY;
  #used = false;
  #asked = null;

  async start() {
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, () => { this.#used = true; }, { passive: true, capture: true });
    setInterval(() => this.#watch(), TOUCH_MS);
    addEventListener("focus", () => this.load());
    await this.load();
  }

  get user() {
    return this.state.user;
  }

  get open() {
    return !this.state.accounts;
  }

  may(right) {
    return this.open || Boolean(this.user?.rights.includes(right));
  }

  signs(action) {
    return this.state.sign.includes(action);
  }

  /** Where the session ends; the server decides, this only tells. */
  async load() {
    try {
      this.#take(await get("api/v1/session"));
    } catch {
      // The live stream tells of a gateway that does not answer.
    }
  }

  #take(state) {
    const before = this.state;
    this.state = state;
    if (before.user && !state.user && !this.#asked) notice(t("session.over"));
    if (JSON.stringify(before.user) !== JSON.stringify(state.user) || before.accounts !== state.accounts) this.dispatchEvent(new Event("change"));
  }

  async #watch() {
    if (this.user && this.#used) {
      this.#used = false;
      await this.send("session/touch", "POST").catch(() => this.load());
    }
    await this.load();
  }

  /** A request that changes something, with the session's token. */
  async send(path, method, body) {
    const headers = { "Content-Type": "application/json", ...(this.state.csrf ? { "X-CSRF-Token": this.state.csrf } : {}) };
    return get(`api/v1/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
  }

  async logout() {
    this.#asked = true;
    try {
      this.#take(await this.send("session", "DELETE"));
    } finally {
      this.#asked = null;
    }
  }

  /** Ask for name and password; resolves to whether somebody is logged in. */
  login() {
    const name = h("input", { type: "text", name: "user", required: true, maxlength: 64, autocomplete: "username", autocapitalize: "none", value: localStorage.getItem("pharmedge.user") ?? "" });
    const password = h("input", { type: "password", name: "password", required: true, maxlength: 1024, autocomplete: "current-password" });
    const asked = ask({
      title: t("session.login"), go: t("session.login"), first: name.value ? password : name,
      fields: [h("label", null, t("session.name"), name), h("label", null, t("session.password"), password)],
      act: async () => {
        this.#take(await this.send("session", "POST", { user: name.value.trim(), password: password.value }));
        localStorage.setItem("pharmedge.user", name.value.trim().toLowerCase());
        notice(t("session.welcome", { name: this.user.full_name }));
      },
    });
    // A password that somebody else set does nothing but be changed; then it is a new login.
    return asked.then(async (done) => {
      if (!done || !this.user?.must_change) return done;
      notice(t("session.mustChange"));
      await this.password();
      return false;
    });
  }

  password() {
    const old = h("input", { type: "password", required: true, maxlength: 1024, autocomplete: "current-password" });
    const fresh = h("input", { type: "password", required: true, minlength: 10, maxlength: 1024, autocomplete: "new-password" });
    return ask({
      title: t("session.change"), go: t("session.change"), first: old,
      fields: [h("label", null, t("session.old"), old), h("label", null, t("session.new"), fresh)],
      act: async () => {
        await this.send("session/password", "POST", { old: old.value, new: fresh.value });
        notice(t("session.changed"));
        await this.load();
      },
    });
  }

  menu() {
    if (document.querySelector("dialog[open]")) return;
    if (this.open) {
      notice(t("session.noAccounts"));
      return;
    }
    if (!this.user) {
      this.login();
      return;
    }
    const close = (act) => () => { dialog.close(); act(); };
    const dialog = h("dialog", { class: "ask", "aria-label": t("session.menu") },
      h("h2", null, this.user.full_name), h("p", { class: "quiet" }, `${this.user.name} · ${t(`role.is.${this.user.role}`)} · ${t("session.until", { time: clock(this.state.ends_ns / MS) })}`),
      h("div", { class: "buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, t("close")),
        h("button", { type: "button", onclick: close(() => this.password()) }, t("session.change")),
        h("button", { type: "button", class: "primary", onclick: close(() => this.logout()) }, t("session.logout"))));
    show(dialog);
  }
}

function show(dialog) {
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

/** A small form; stays open and says why while the act is refused. */
export function ask({ title, go, fields, first, act }) {
  return new Promise((resolve) => {
    let done = false;
    const wrong = h("p", { class: "wrong", role: "alert", hidden: true });
    const button = h("button", { type: "submit", class: "primary" }, go);
    const dialog = h("dialog", { class: "ask", "aria-label": title },
      h("form", {
        onsubmit: async (event) => {
          event.preventDefault();
          button.disabled = true;
          try {
            await act();
            done = true;
            dialog.close();
          } catch (error) {
            wrong.textContent = error.message;
            wrong.hidden = false;
            for (const secret of dialog.querySelectorAll("input[type=password]")) secret.value = "";
            dialog.querySelector("input[type=password]")?.focus();
          } finally {
            button.disabled = false;
          }
        },
      },
      h("h2", null, title), fields, wrong,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, t("cancel")), button)));
    dialog.addEventListener("close", () => resolve(done));
    show(dialog);
    first?.focus();
  });
}

/** Password again, and what signing means: fields for a form, and their values. */
export function signature(meaning) {
  const password = h("input", { type: "password", name: "signature", required: true, maxlength: 1024, autocomplete: "current-password" });
  const words = h("input", { type: "text", name: "meaning", required: true, maxlength: 64, value: meaning, autocomplete: "off" });
  return {
    password,
    fields: [h("p", { class: "quiet" }, t("sign.as", { name: session.user?.full_name ?? "" })), h("label", null, t("sign.meaning"), words), h("label", null, t("sign.password"), password)],
    value: () => ({ password: password.value, meaning: words.value.trim() }),
  };
}

export const session = new Session();
