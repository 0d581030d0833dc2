// Sound and notifications for new alarms. Browsers stay silent until somebody has touched the page, so the page says when nobody would hear it.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { alarmTitle, alarmUnit } from "./marks.js";
import { called, plant } from "./plant.js";

const SOUND = "pharmedge.sound";
const NOTIFY = "pharmedge.notify";
/** Tones in Hz, each 0.16 s: told apart by number as well as by pitch. */
const TONES = { 1: [988, 740, 988, 740, 988], 2: [784, 784, 784], 3: [659, 659], 4: [523] };
const TONE_S = 0.16;
const PAUSE_S = 0.06;
/** An alarm that nobody has acknowledged or silenced sounds again. */
const AGAIN_MS = { 1: 3000, 2: 8000, 3: 30_000, 4: Infinity };

const CALLS = new Set(["raise", "re_alarm", "unsuppress"]);

/** When an occurrence called last, ns UTC: it was raised, alarmed again, or a suppression ended. */
function callOf(row) {
  return row.events?.findLast((event) => CALLS.has(event.event))?.received_ns ?? row.raised_ns;
}

class Sound extends EventTarget {
  #context = null;
  #out = null;
  #ear = null;
  #silenced = new Map();
  #told = new Map();
  #last = -Infinity;

  start() {
    const touched = () => this.#wake();
    for (const kind of ["pointerdown", "keydown"]) addEventListener(kind, touched, { capture: true, passive: true });
    if (navigator.userActivation?.hasBeenActive) this.#wake();
    setInterval(() => this.#again(), 500);
  }

  /** on, muted by a person, blocked by the browser until the page is touched, or none where there is no sound at all. */
  get state() {
    if (localStorage.getItem(SOUND) === "off") return "muted";
    if (typeof AudioContext === "undefined") return "none";
    return this.#context?.state === "running" ? "on" : "blocked";
  }

  set(on) {
    localStorage.setItem(SOUND, on ? "on" : "off");
    if (on) this.#wake();
    this.dispatchEvent(new Event("change"));
  }

  #wake() {
    if (this.state !== "blocked") return;
    if (!this.#context) {
      this.#context = new AudioContext();
      this.#context.addEventListener("statechange", () => this.dispatchEvent(new Event("change")));
      this.#out = this.#context.createGain();
      this.#ear = this.#context.createAnalyser();
      this.#out.connect(this.#ear).connect(this.#context.destination);
    }
    this.#context.resume().then(() => this.dispatchEvent(new Event("change")), () => {});
  }

  #play(priority) {
    if (this.state !== "on") return 0;
    const { currentTime } = this.#context;
    TONES[priority].forEach((pitch, i) => {
      const begin = currentTime + i * (TONE_S + PAUSE_S);
      const tone = this.#context.createOscillator();
      const volume = this.#context.createGain();
      tone.frequency.value = pitch;
      volume.gain.setValueAtTime(0.0001, begin);
      volume.gain.exponentialRampToValueAtTime(0.2, begin + 0.02);
      volume.gain.setValueAtTime(0.2, begin + TONE_S - 0.03);
      volume.gain.exponentialRampToValueAtTime(0.0001, begin + TONE_S);
      tone.connect(volume).connect(this.#out);
      tone.start(begin);
      tone.stop(begin + TONE_S);
    });
    return TONES[priority].length * (TONE_S + PAUSE_S);
  }

  /** Play each priority and listen to what the browser gives out: per priority whether anything could be heard at the output. */
  async test(priorities = [1, 2, 3, 4]) {
    const heard = {};
    for (const priority of priorities) {
      const seconds = this.#play(priority);
      let peak = 0;
      const samples = new Float32Array(this.#ear?.fftSize ?? 1);
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end) {
        await new Promise((go) => setTimeout(go, 20));
        this.#ear.getFloatTimeDomainData(samples);
        for (const v of samples) peak = Math.max(peak, Math.abs(v));
      }
      heard[priority] = peak > 0.01;
    }
    return heard;
  }

  #calling() {
    return called().filter((row) => (row.state === "UNACK" || row.state === "LATUN") && !row.advisory);
  }

  /** New rows of the stream: sound at once for those that nobody has heard. */
  alarms(rows) {
    // Whatever stopped calling is new when it calls again: a re-alarm or the end of a shelving keeps its occurrence.
    for (const row of rows) {
      if (row.state === "UNACK" || row.state === "LATUN") continue;
      this.#told.delete(row.occurrence);
      this.#silenced.delete(row.occurrence);
    }
    // Acknowledged and called again may come in one message: what counts is which call of it was heard.
    const fresh = rows.filter((row) => row.state === "UNACK" && !row.advisory && this.#told.get(row.occurrence) !== callOf(row));
    for (const row of fresh) this.#told.set(row.occurrence, callOf(row));
    if (this.#told.size > 20_000) this.#told = new Map([...this.#told].slice(-10_000));
    if (!fresh.length) return;
    this.#sound(fresh);
    this.#notify(fresh);
  }

  #sound(rows) {
    this.#last = performance.now();
    this.#play(Math.min(...rows.map((row) => row.priority)));
  }

  #again() {
    const open = this.#calling().filter((row) => this.#silenced.get(row.occurrence) !== callOf(row));
    if (!open.length) return;
    const worst = Math.min(...open.map((row) => row.priority));
    if (performance.now() - this.#last >= AGAIN_MS[worst]) this.#sound(open);
  }

  /** Quiet for what sounds now; a new alarm is heard again. */
  silence() {
    const open = this.#calling();
    this.#silenced = new Map(open.map((row) => [row.occurrence, callOf(row)]));
    return open.length;
  }

  get notifies() {
    return typeof Notification !== "undefined" && Notification.permission === "granted" && localStorage.getItem(NOTIFY) === "on";
  }

  async setNotify(on) {
    const granted = on && typeof Notification !== "undefined" && (await Notification.requestPermission()) === "granted";
    localStorage.setItem(NOTIFY, granted ? "on" : "off");
    return granted;
  }

  async #notify(rows) {
    if (!this.notifies || !document.hidden) return;
    const worst = rows.reduce((a, b) => (b.priority < a.priority ? b : a));
    const title = `${worst.priority} ${t(`priority.${worst.priority}`)} · ${alarmUnit(worst)}`;
    const words = { body: alarmTitle(worst) + (rows.length > 1 ? ` (+${rows.length - 1})` : ""), tag: worst.occurrence, icon: "icon-192.png" };
    // Phones show notifications only through the service worker.
    const worker = await navigator.serviceWorker?.getRegistration();
    if (worker) worker.showNotification(title, words);
    else new Notification(title, words);
  }
}

export const sound = new Sound();

/** Switch sound and notifications, and hear each priority. */
export function soundMenu() {
  if (document.querySelector("dialog[open]")) return;
  const told = h("p", { role: "status", class: "quiet" });
  const say = () => { told.textContent = t(`sound.is.${sound.state}`); };
  const on = h("input", { type: "checkbox", name: "sound", checked: sound.state !== "muted", onchange: () => { sound.set(on.checked); setTimeout(say, 100); } });
  const notify = h("input", { type: "checkbox", name: "notify", checked: sound.notifies, onchange: async () => { notify.checked = await sound.setNotify(notify.checked) && notify.checked; } });
  const listen = async (priorities) => {
    const heard = await sound.test(priorities);
    const dumb = Object.keys(heard).filter((p) => !heard[p]);
    told.textContent = dumb.length ? t("sound.failed", { list: dumb.join(", ") }) : t("sound.passed");
    told.dataset.passed = String(!dumb.length);
  };
  const dialog = h("dialog", { class: "ask sound", "aria-label": t("sound.title") }, h("h2", null, t("sound.title")),
    h("label", { class: "check" }, on, t("sound.switch")), h("label", { class: "check" }, notify, t("sound.notify")), told,
    h("div", { class: "buttons" }, [1, 2, 3, 4].map((p) => h("button", { type: "button", onclick: () => listen([p]) }, `${p} ${t(`priority.${p}`)}`)),
      h("button", { type: "button", name: "test", onclick: () => listen([1, 2, 3, 4]) }, t("sound.test"))),
    h("form", { method: "dialog", class: "buttons" }, h("button", { class: "primary" }, t("close"))));
  say();
  sound.addEventListener("change", say);
  dialog.addEventListener("close", () => { sound.removeEventListener("change", say); dialog.remove(); });
  document.body.append(dialog);
  dialog.showModal();
}

plant.addEventListener("alarms", (event) => sound.alarms(event.detail));
