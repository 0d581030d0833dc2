// What an edge said about an alarm, in the reader's language. The record stays as it was written: in English, with the tag's own numbers.

import { unit } from "./format.js";
import { language, t } from "./i18n.js";

const NUMBER = "-?[\\d.]+(?:e[+-]?\\d+)?[^a-z]?.*?";
/** The unit behind a number, as the record codes it. */
const CODE = /(?<=\d )[^\d\s]\S*/g;
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

/** Why an edge or the gateway refused, where the words are always the same. */
const REFUSALS = new Map(Object.entries({
  "asked too long ago": "tooLate",
  "the alarm was raised meanwhile": "raisedMeanwhile",
  "this occurrence is over: the alarm was raised again": "raisedAgain",
  "there is no such occurrence": "noOccurrence",
  "this occurrence is over": "occurrenceOver",
  "already acknowledged": "acknowledged",
  "acknowledge it before the reset": "ackFirst",
  "the condition still stands": "stillStands",
  "nothing is latched": "nothingLatched",
  "already shelved": "shelvedAlready",
  "already out of service": "outAlready",
  "it is not shelved": "notShelved",
  "it is not out of service": "notOut",
  "there is no alarm of this name": "noAlarm",
  "nobody may shelve this alarm": "nobodyShelves",
  "shelving needs a reason": "shelveReason",
  "out_of_service needs the number of a work permit": "needsPermit",
  "a comment needs its words": "needsWords",
  "asked for twice at once": "twice",
  "a mode needs an end that is still to come": "modeEnd",
  "a mode needs a reason": "modeReason",
  "it is shelved already": "shelvedAlready",
  "it is out of service already": "outAlready",
}));

/** The explanation of an event or the reason of a refusal; words of a form that is not known come back as they are. */
export function said(words) {
  return translated(words?.replace(CODE, unit));
}

function translated(words) {
  if (!words || language === "en") return words;
  if (REFUSALS.has(words)) return t(`said.${REFUSALS.get(words)}`);
  for (const [form, key] of FORMS) {
    const found = form.exec(words);
    if (found) return t(`said.${key}`, { a: translated(found[1]), b: translated(found[2]), c: found[3] });
  }
  return words;
}
