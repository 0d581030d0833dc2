// What the page knows of the plant, and the live stream that keeps it true.
//
//   /api/v1/live  hello -> fetch tags, alarms, edges -> values, alarms, edges, beat ...
//
// Silence of 2.5 s means that nothing on the page is current: every value turns stale until the stream speaks again.

import { said } from "./said.js";

const SILENCE_MS = 2500;
const DEAD_MS = 6000;
const SIMULATED = 0x4209;

export const MS = 1e6;

class Plant extends EventTarget {
  tags = new Map();
  order = [];
  alarms = new Map();
  edges = new Map();
  hello = null;
  live = false;
  ready = false;
  updated = false;
  lostSince = null;
  failure = "";
  #offset = 0;
  #heard = -Infinity;
  #source = null;
  #wait = 500;
  #held = null;
  #reopen = 0;

  start() {
    this.lostSince = Date.now();
    this.#open();
    setInterval(() => this.#watch(), 250);
  }

  /** Gateway time in ms UTC. */
  now() {
    return Date.now() + this.#offset;
  }

  #tell(name) {
    this.dispatchEvent(new Event(name));
  }

  #watch() {
    const silent = performance.now() - this.#heard;
    if (this.live && silent > SILENCE_MS) {
      this.live = false;
      this.lostSince = this.now() - silent;
      this.#tell("link");
    }
    if (this.#source && silent > DEAD_MS && performance.now() - this.#reopen > DEAD_MS) this.#again();
  }

  #open() {
    this.#reopen = performance.now();
    const source = new EventSource("api/v1/live");
    this.#source = source;
    const on = (name, act) => source.addEventListener(name, (event) => {
      if (source !== this.#source) return;
      this.#heard = performance.now();
      act(JSON.parse(event.data));
    });
    on("hello", (hello) => this.#greet(hello));
    on("values", (change) => this.#hold(() => this.#values(change.v)));
    on("alarms", (change) => this.#hold(() => this.#alarms(change.alarms)));
    on("edges", (change) => this.#hold(() => this.#edges(change.edges)));
    on("tags", () => this.#load());
    on("beat", (beat) => this.#clock(beat.server_ns));
    source.onerror = () => source === this.#source && this.#again();
  }

  #again() {
    this.#source?.close();
    this.#source = null;
    setTimeout(() => this.#source ?? this.#open(), this.#wait);
    this.#wait = Math.min(3000, this.#wait * 1.6);
  }

  #clock(server_ns) {
    const offset = server_ns / MS - Date.now();
    // Network delay only ever makes the offset look smaller.
    this.#offset = Math.abs(offset - this.#offset) > 1000 ? offset : Math.max(offset, this.#offset - 2);
    this.#alive();
    this.#tell("beat");
  }

  #alive() {
    if (this.live || !this.ready || performance.now() - this.#heard > SILENCE_MS) return;
    this.live = true;
    this.lostSince = null;
    this.#tell("link");
  }

  #greet(hello) {
    this.#wait = 500;
    if (this.hello && this.hello.version !== hello.version) this.updated = true;
    this.hello = hello;
    this.#offset = hello.server_ns / MS - Date.now();
    this.#tell("hello");
    this.#load();
  }

  /** Changes that arrive while a fresh picture is on its way are applied after it. */
  #hold(act) {
    if (this.#held) this.#held.push(act);
    else act();
  }

  async #load() {
    const held = [];
    this.#held = held;
    try {
      const [tags, alarms, edges] = await Promise.all([
        get("api/v1/tags"), get("api/v1/alarms?state=standing&limit=10000"), get("api/v1/edges"),
      ]);
      if (this.#held !== held) return;
      this.edges.clear();
      this.#edges(edges.edges);
      this.#definitions(tags.tags);
      const standing = new Set(alarms.alarms.map((row) => row.occurrence));
      const over = [...this.alarms.values()].filter((row) => !standing.has(row.occurrence));
      this.#alarms([...alarms.alarms, ...over.map((row) => ({ ...row, state: "NORM" }))]);
      this.failure = "";
      this.ready = true;
      this.#tell("tags");
    } catch (error) {
      this.failure = error.message;
      this.#tell("link");
      if (this.#held === held) setTimeout(() => this.#held === held && this.#load(), 2000);
      return;
    }
    this.#held = null;
    for (const act of held) act();
    this.#alive();
  }

  #definitions(rows) {
    const before = this.tags;
    this.tags = new Map();
    this.order = [];
    for (const row of rows) {
      const known = before.get(row.key);
      const last = row.last;
      const newer = known && known.time_ns !== null && (!last || known.time_ns > last.time_ns);
      const tag = {
        ...row,
        time_ns: newer ? known.time_ns : last?.time_ns ?? null,
        value: newer ? known.value : last?.value ?? null,
        status: newer ? known.status : last?.status ?? 0,
        seen: newer ? known.seen : last ? last.received_ns / MS : -Infinity,
        toldStale: !newer && last?.quality === "stale",
        unitName: unitName(row),
        alarm: null,
        find: `${row.name} ${row.description?.en ?? ""} ${row.description?.zh ?? ""} ${row.unit} ${row.edge} ${row.path}`.toLowerCase(),
      };
      this.tags.set(row.key, tag);
      this.order.push(tag);
    }
  }

  #values(values) {
    for (const key in values) {
      const tag = this.tags.get(key);
      if (!tag) continue;
      const [time_ns, value, status] = values[key];
      if (tag.time_ns !== null && time_ns < tag.time_ns) continue;
      tag.time_ns = time_ns;
      tag.value = value;
      tag.status = status;
      tag.seen = this.now();
      tag.toldStale = false;
    }
    this.#tell("values");
  }

  #alarms(rows) {
    for (const row of rows) {
      if (row.state === "NORM") this.alarms.delete(row.occurrence);
      else this.alarms.set(row.occurrence, row);
    }
    this.#mark();
    this.dispatchEvent(new CustomEvent("alarms", { detail: rows }));
  }

  #edges(rows) {
    for (const row of rows) this.edges.set(row.edge, row);
    this.#tell("edges");
  }

  /** Each tag knows its worst standing alarm. */
  #mark() {
    for (const tag of this.order) tag.alarm = null;
    for (const row of called()) {
      const tag = this.tags.get(`${row.edge}:${row.tag}`);
      if (tag && (!tag.alarm || worse(row, tag.alarm))) tag.alarm = row;
    }
  }

  /** Quality class of a tag now: good, uncertain, bad, stale or none, and the age of its value in seconds. */
  quality(tag) {
    if (tag.time_ns === null) return { quality: "none", age: null };
    const age = Math.max(0, (this.now() - tag.time_ns / MS) / 1000);
    const edge = this.edges.get(tag.edge);
    const expected = tag.kind === "numeric" && tag.record !== "changes" ? tag.report?.expected_s : null;
    // Judged by when a value came, as the gateway does: a sensor's clock may be wrong. Records travel in batches, summaries when a window closes.
    const patience = expected ? Math.max(3 * expected, 5) + (tag.record === "summary" ? 30 : 0) : Infinity;
    if (!this.live || tag.toldStale || (this.now() - tag.seen) / 1000 > patience || (edge && !edge.connected)) return { quality: "stale", age };
    return { quality: statusQuality(tag.status, edge?.simulated), age };
  }
}

export const plant = new Plant();

export function statusQuality(status, simulated) {
  if (simulated && status >>> 16 === SIMULATED) return "good";
  return ["good", "uncertain", "bad", "bad"][status >>> 30];
}

export const GROUPS = ["gmp_critical", "gmp", "safety", "environment", "other", "model"];

/** What a tag is for: its class, or that a model puts it out. */
export function groupOf(tag) {
  return tag.derived_from.length || tag.model ? "model" : GROUPS.includes(tag.class) ? tag.class : "other";
}

/** The numeric tags of these that say most: those with limits first, then by what they are for. */
export function leading(tags, most) {
  const weight = (tag) => GROUPS.indexOf(groupOf(tag)) + (tag.limits.length ? 0 : 10);
  return tags.filter((tag) => tag.kind === "numeric" && (tag.role === "value" || tag.role === "")).sort((a, b) => weight(a) - weight(b)).slice(0, most);
}

function unitName(tag) {
  const path = tag.path || tag.name.slice(0, Math.max(0, tag.name.lastIndexOf("/")));
  return path.slice(path.lastIndexOf("/") + 1) || tag.edge;
}

const COVERED = new Set(["SHLVD", "DSUPR", "OOSRV"]);

/** Whether a suppression lies over an alarm: it is listed, and nobody is called. */
export function covered(row) {
  return COVERED.has(row.state);
}

/** Whether this suppression (shelved, designed, out_of_service) lies over it, perhaps under a stronger one. */
export function laid(row, overlay) {
  return Boolean(row.suppressions?.some((one) => one.overlay === overlay));
}

/** Standing alarms that call somebody: all but the suppressed ones. */
export function called() {
  return [...plant.alarms.values()].filter((row) => !covered(row));
}

export function unacknowledged(row) {
  return row.state === "UNACK" || row.state === "RTNUN" || row.state === "LATUN";
}

/** Whether alarm `a` goes before `b`: advisories last, then unacknowledged, then priority, then the newer one. */
export function compare(a, b) {
  return (a.advisory - b.advisory) || (unacknowledged(b) - unacknowledged(a)) || (a.priority - b.priority) || (b.raised_ns - a.raised_ns)
    || (a.occurrence < b.occurrence ? -1 : a.occurrence > b.occurrence ? 1 : 0);
}

function worse(a, b) {
  return (a.priority - b.priority || compare(a, b)) < 0;
}

/** JSON of a request; an error carries the detail of the problem document. */
export async function get(url, options) {
  const answer = await fetch(url, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said(body.detail) || `${answer.status} ${answer.statusText}`);
  return body;
}
