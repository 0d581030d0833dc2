// One dictionary per language; a key is the same in all of them.

const LANGUAGES = ["en", "zh"];
let words = {};
export let language = "en";

export function preferred() {
  const kept = localStorage.getItem("pharmedge.language");
  if (LANGUAGES.includes(kept)) return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export async function speak(name) {
  const answer = await fetch(`lang/${name}.json`);
  if (!answer.ok) throw new Error(`lang/${name}.json: ${answer.status}`);
  words = await answer.json();
  language = name;
  localStorage.setItem("pharmedge.language", name);
  document.documentElement.lang = name === "zh" ? "zh-CN" : "en";
}

export function t(key, values) {
  const pattern = words[key] ?? key;
  return values ? pattern.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? "")) : pattern;
}

export function has(key) {
  return key in words;
}

/** Text of a {en, zh} mapping in the chosen language, else in the other one. */
export function local(texts) {
  return texts?.[language] || texts?.en || texts?.zh || "";
}
