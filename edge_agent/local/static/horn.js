// The horn: a tone for what is new, again every ten seconds while an urgent or high alarm waits, and the truth about whether it can be heard.

const KEY = "pharmedge.panel.horn";
const AGAIN_MS = 10_000;
const told = new Set();
let context = null;
let silenced = false;
let last = 0;

export function wanted() {
  return localStorage.getItem(KEY) !== "off";
}

/** "" when it can be heard, else why not: "user" or "browser". */
export function muted() {
  if (!wanted()) return "user";
  context ??= new AudioContext();
  return context.state === "running" ? "" : "browser";
}

/** Switch it on or off; on is heard at once. Called from a touch, which is what a browser wants to see. */
export async function set(on) {
  localStorage.setItem(KEY, on ? "on" : "off");
  if (!on) return;
  context ??= new AudioContext();
  await context.resume();
  tone(659, 0.2);
}

export function silence() {
  silenced = true;
}

export function ringing(rows) {
  return !silenced && rows.some(calls);
}

function calls(row) {
  return !row.advisory && !row.suppressed && (row.state === "UNACK" || row.state === "LATUN");
}

export function listen(rows) {
  const calling = rows.filter(calls);
  const now = new Set(calling.map((row) => row.occurrence));
  // What comes back, be it raised again or no longer shelved, is new again.
  for (const occurrence of told) if (!now.has(occurrence)) told.delete(occurrence);
  const fresh = calling.filter((row) => !told.has(row.occurrence));
  for (const row of fresh) told.add(row.occurrence);
  if (fresh.length) silenced = false;
  const again = !silenced && performance.now() - last > AGAIN_MS && calling.some((row) => row.priority <= 2);
  if ((!fresh.length && !again) || muted()) return;
  last = performance.now();
  const worst = Math.min(...(fresh.length ? fresh : calling).map((row) => row.priority));
  tone({ 1: 988, 2: 784, 3: 659 }[worst] ?? 523, worst === 1 ? 0.6 : 0.3);
}

function tone(pitch, seconds) {
  const source = context.createOscillator();
  const volume = context.createGain();
  source.frequency.value = pitch;
  volume.gain.setValueAtTime(0.25, context.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, context.currentTime + seconds);
  source.connect(volume).connect(context.destination);
  source.start();
  source.stop(context.currentTime + seconds);
}
