// What an edge said about an alarm, in the reader's language. The record stays as it was written: in English, with the tag's own numbers.

import { language, t } from "./i18n.js";

const NUMBER = "-?[\\d.]+(?:e[+-]?\\d+)?[^a-z]?.*?";
const FORMS = [
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
  [/^no limit holds in this phase$/, "noLimit"],
];

/** The explanation of an event; words of a form that is not known come back as they are. */
export function said(words) {
  if (!words || language === "en") return words;
  for (const [form, key] of FORMS) {
    const found = form.exec(words);
    if (found) return t(`said.${key}`, { a: said(found[1]), b: said(found[2]), c: found[3] });
  }
  return words;
}
