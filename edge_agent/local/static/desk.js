// What stands at the edge, as the stream tells it; whether it is current; and requests with the session's token.

const BEAT_MS = 2500;
const STALLED_MS = 3000;

class Desk extends EventTarget {
  about = null;
  rows = new Map();
  problems = [];
  live = false;
  lastMs = 0;
  user = null;
  csrf = "";
  endsMs = 0;
  pending = new Map();
  #early = new Map();
  #offset = 0;
  #heard = -Infinity;
  #beat = -1;
  #beatAt = performance.now();
  #source = null;

  now() {
    return Date.now() + this.#offset;
  }

  open() {
    this.#source?.close();
    const source = (this.#source = new EventSource("api/stream"));
    const on = (name, act) => source.addEventListener(name, (event) => {
      const data = JSON.parse(event.data);
      this.#heard = performance.now();
      if (data.now_ns) this.#offset = data.now_ns / 1e6 - Date.now();
      act(data);
      this.#look();
    });
    on("hello", (data) => { this.about = data; this.#beat = -1; this.dispatchEvent(new Event("about")); });
    on("alarms", (data) => this.#took(data));
    on("beat", (data) => {
      if (data.beat !== this.#beat) this.#beatAt = performance.now();
      this.#beat = data.beat;
      this.problems = data.problems;
      if (this.about) this.about.people = data.people;
      this.dispatchEvent(new Event("beat"));
    });
    source.onerror = () => {
      // The browser tries again by itself, unless the answer was an error.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.open(), 1000);
    };
  }

  /** Milliseconds since anything judged became durable, when that is too long; else 0. */
  stalled() {
    const since = performance.now() - this.#beatAt;
    return this.live && since > STALLED_MS ? since : 0;
  }

  watch() {
    setInterval(() => this.#look(), 250);
  }

  #look() {
    const live = performance.now() - this.#heard < BEAT_MS;
    if (live) this.lastMs = this.now();
    if (live !== this.live) {
      this.live = live;
      this.dispatchEvent(new Event("live"));
    }
  }

  #took({ alarms, outcomes }) {
    this.rows = new Map(alarms.map((row) => [row.occurrence, row]));
    for (const outcome of outcomes) {
      this.#early.set(outcome.action_id, outcome);
      this.#settle(outcome.action_id);
    }
    while (this.#early.size > 256) this.#early.delete(this.#early.keys().next().value);
    this.dispatchEvent(new Event("alarms"));
  }

  // The stream may be faster than the answer that names the action.
  #settle(id) {
    const [asked, outcome] = [this.pending.get(id), this.#early.get(id)];
    if (!asked || !outcome) return;
    this.pending.delete(id);
    this.dispatchEvent(new CustomEvent("outcome", { detail: { ...asked, ...outcome } }));
  }

  waiting(occurrence) {
    return [...this.pending.values()].some((asked) => asked.row.occurrence === occurrence);
  }

  async request(path, method = "GET", body = undefined) {
    const headers = { "Content-Type": "application/json", ...(this.csrf ? { "X-CSRF-Token": this.csrf } : {}) };
    const answer = await fetch(`api/${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const said = await answer.json();
    if (!answer.ok) throw Object.assign(new Error(said.detail ?? answer.statusText), { status: answer.status });
    return said;
  }

  async session(method = "GET", body = undefined) {
    const said = await this.request(method === "TOUCH" ? "session/touch" : "session", method === "TOUCH" ? "POST" : method, body);
    const before = this.user;
    [this.user, this.csrf, this.endsMs] = [said.user, said.csrf, (said.ends_ns ?? 0) / 1e6];
    if (this.about) this.about.people = said.people;
    this.dispatchEvent(new CustomEvent("session", { detail: { before } }));
  }

  /** Ask the edge; what becomes of it comes back by the stream. */
  async act(kind, rows, more = {}) {
    const said = await this.request("actions", "POST", { kind, occurrences: rows.map((row) => row.occurrence), ...more });
    for (const row of rows) {
      this.pending.set(said.actions[row.occurrence], { kind, row });
      this.#settle(said.actions[row.occurrence]);
    }
    this.dispatchEvent(new Event("alarms"));
  }
}

export const desk = new Desk();
