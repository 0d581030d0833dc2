// A short tone for a new alarm, when the operator has switched it on: browsers allow sound only after a click.

const KEY = "pharmedge.horn";
let context = null;
const told = new Set();

export function hornOn() {
  return localStorage.getItem(KEY) === "on";
}

export function setHorn(on) {
  localStorage.setItem(KEY, on ? "on" : "off");
  if (on) sound(660, 0.12);
}

/** Sound once for each occurrence that is new, unacknowledged and no advisory. */
export function horn(rows) {
  const fresh = rows.filter((row) => row.state === "UNACK" && !row.advisory && !told.has(row.occurrence));
  for (const row of fresh) told.add(row.occurrence);
  if (told.size > 20_000) told.clear();
  if (!fresh.length || !hornOn()) return;
  const worst = Math.min(...fresh.map((row) => row.priority));
  sound({ 1: 988, 2: 784, 3: 659 }[worst] ?? 523, worst === 1 ? 0.5 : 0.25);
}

function sound(pitch, seconds) {
  context ??= new AudioContext();
  const tone = context.createOscillator();
  const volume = context.createGain();
  tone.frequency.value = pitch;
  volume.gain.setValueAtTime(0.12, context.currentTime);
  volume.gain.exponentialRampToValueAtTime(0.001, context.currentTime + seconds);
  tone.connect(volume).connect(context.destination);
  tone.start();
  tone.stop(context.currentTime + seconds);
}
