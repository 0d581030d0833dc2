// What an edge said about an alarm, in the reader's language. The record stays as it was written: in English, with the tag's own numbers.

import { unit } from "./format.js";
import { has, language, t } from "./i18n.js";
import { SAID } from "./refusals.js";

const NUMBER = "-?[\\d.]+(?:e[+-]?\\d+)?[^a-z]?.*?";
/** The unit behind a number, as the record codes it. */
const CODE = /(?<=\d )[^\d\s]\S*/g;
const FORMS = [
  [/^(.*?) ?\(at the edge ([^)]+)\)$/, "atEdge"],
  [/^off setpoint (.+?) by (.+)$/, "offSetpoint"],
  [/^no longer: (.+)$/, "noLonger"],
  [/^(.+) for ([\d.e+]+) s$/, "for"],
  [new RegExp(`^(${NUMBER}) above (.+)$`), "above"],
  [new RegExp(`^(${NUMBER}) below (.+)$`), "below"],
  [new RegExp(`^(${NUMBER}) equals (.+)$`), "equals"],
  [new RegExp(`^(${NUMBER}) differs from (.+)$`), "differs"],
  [/^consequence of (.+)$/, "consequence"],
  [/^the unit is in (\w+)$/, "unitIn"],
  [/^(\d+) alarms in ([\d.]+) min, first (.+)$/, "flood"],
  [/^over: (\d+) alarms, the first was (.+)$/, "floodOver"],
  [/^no new value$/, "stale"],
  [/^bad quality$/, "bad"],
  [/^condition met$/, "met"],
  [/^back to normal$/, "normal"],
  [/^nothing was heard of (.+) since (.+)$/, "unheard"],
  [/^(.+) is heard again$/, "heard"],
  [/^no value of any tag$/, "noValue"],
  [/^values came again$/, "valuesAgain"],
  [/^no limit holds in this phase$/, "noLimit"],
];

const PUT = /\{\w\}/g;
const EXACT = new Map(SAID.filter(([form]) => !form.includes("{a}")));
const FILLED = SAID.filter(([form]) => form.includes("{a}"))
  .map(([form, key]) => [new RegExp(`^${form.split(PUT).map((part) => part.replace(/[.*+?^$()|[\]\\{}]/g, "\\$&")).join("(.+)")}$`, "s"), key]);
/** Where the words that are put in are looked up: roles, what was asked, rights, states, modes. */
const WORDS = ["role.is", "act.is", "right", "state", "mode.is", "change.is"];

/** The explanation of an event or the reason of a refusal; words of a form that is not known come back as they are. */
export function said(words) {
  return translated(words?.replace(CODE, unit));
}

function translated(words) {
  if (!words || language === "en") return words;
  if (EXACT.has(words)) return t(`said.${EXACT.get(words)}`);
  for (const [form, key] of FORMS) {
    const found = form.exec(words);
    if (found) return t(`said.${key}`, { a: translated(found[1]), b: translated(found[2]), c: found[3] });
  }
  for (const [form, key] of FILLED) {
    const found = form.exec(words);
    if (found) return t(`said.${key}`, { a: word(found[1]), b: word(found[2]), c: word(found[3]), d: word(found[4]) });
  }
  return words;
}

/** A role, a list of roles, an act, a state or a mode in the reader's language; what is none of these as it is. */
function word(one) {
  if (!one) return one;
  for (const between of [" or ", ", "]) if (one.includes(between)) return one.split(between).map(word).join(between === " or " ? t("word.or") : "、");
  if (has(`word.${one}`)) return t(`word.${one}`);
  const name = WORDS.flatMap((where) => [`${where}.${one}`, `${where}.${one.replaceAll(" ", "_")}`]).find(has);
  return name ? t(name) : one;
}
