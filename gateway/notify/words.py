"""The texts of notifications in English and Chinese, as much of each message as its receiver is to see."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, tzinfo
from typing import Final

import msgspec

from gateway.notify.receiver import Item, Language, Message, ReceiverConfig, WorkRequest

SHOWN: Final = 10
"""Alarms told one by one in a text; the others are counted."""

WORDS: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "work_request": "Work request for maintenance",
        "act": "act now",
        "plan": "to be planned",
        "test": "TEST: no alarm. This message only tries the way to you.",
        "one": "1 alarm needs attention",
        "many": "{n} alarms need attention",
        "priority": "priority {p}: {n}",
        "first": "The first was raised at {time}.",
        "step": "Escalation step {n}.",
        "more": "and {n} more",
        "console": "See the console.",
        "console_at": "Console: {url}",
        "simulated": "[SIMULATED] ",
        "value": "value {value}",
        "limit": "limit {limit}",
        "response": "Response: {text}",
        "reference": "Reference {id}",
        "join": ", ",
        "UNACK": "active, not acknowledged",
        "ACKED": "active, acknowledged",
        "RTNUN": "gone, not acknowledged",
        "LATUN": "latched, not acknowledged",
        "LATACK": "latched, acknowledged",
        "NORM": "over",
        "other": "suppressed",
        "first_out": "first of its group",
    },
    "zh": {
        "work_request": "维护工单请求",
        "act": "立即处理",
        "plan": "安排计划",
        "test": "测试：无报警。本消息仅用于检验通知通道。",
        "one": "1 条报警需要处理",
        "many": "{n} 条报警需要处理",
        "priority": "优先级 {p}：{n} 条",
        "first": "最早触发时间 {time}。",
        "step": "升级通知第 {n} 级。",
        "more": "另有 {n} 条",
        "console": "请查看控制台。",
        "console_at": "控制台：{url}",
        "simulated": "【模拟】",
        "value": "数值 {value}",
        "limit": "限值 {limit}",
        "response": "处置：{text}",
        "reference": "编号 {id}",
        "join": "，",
        "UNACK": "报警中，未确认",
        "ACKED": "报警中，已确认",
        "RTNUN": "已恢复，未确认",
        "LATUN": "已锁存，未确认",
        "LATACK": "已锁存，已确认",
        "NORM": "已结束",
        "other": "已抑制",
        "first_out": "本组首发",
    },
}


def one_line(text: str) -> str:
    r"""A text without line ends and other control characters, so that it can neither add a header nor a line.

    >>> one_line("high\r\nBcc: x")
    'high Bcc: x'
    """
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") else c for c in text).split())


def cut(text: str, limit: int) -> str:
    """A text of at most `limit` bytes of UTF-8, with an ellipsis where it was cut.

    >>> cut("报警报警", 9)
    '报警…'
    """
    data = text.encode()
    if len(data) <= limit:
        return text
    return data[: limit - 3].decode(errors="ignore") + "…"


def local_time(time_ns: int, zone: tzinfo) -> str:
    """An instant as the plant's clock shows it.

    >>> from zoneinfo import ZoneInfo
    >>> local_time(1767225600000000000, ZoneInfo("Asia/Shanghai"))
    '2026-01-01 08:00:00 +0800'
    """
    return f"{datetime.fromtimestamp(time_ns // 1_000_000_000, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S %z}"


class Writer:
    """Writes messages for one receiver."""

    def __init__(self, config: ReceiverConfig, zone: tzinfo, console_url: str = "") -> None:
        self._config, self._zone, self._console_url = config, zone, console_url
        self._words = WORDS[config.language]

    def subject(self, message: Message) -> str:
        """One line: how many alarms of which priorities."""
        words = self._words
        if message.test:
            return f"{one_line(self._config.label)} {words['test']}".strip()
        if message.request is not None:
            urgency = words[message.request.urgency if message.request.urgency in ("act", "plan") else "plan"]
            unit = f": {one_line(message.request.unit)}" if self._config.shown != "minimal" else ""
            return f"{one_line(self._config.label)} {words['work_request']} ({urgency}){unit}".strip()
        number = words["one"] if message.total == 1 else words["many"].format(n=message.total)
        priorities = words["join"].join(words["priority"].format(p=p, n=n) for p, n in sorted(message.priorities.items()))
        brackets = "（{}）" if self._config.language == "zh" else " ({})"
        label = f"{one_line(self._config.label)} " if self._config.label else ""
        return f"{label}{words['simulated'] if message.simulated else ''}{number}{brackets.format(priorities)}"

    def text(self, message: Message) -> str:
        """All lines."""
        words = self._words
        if message.test:
            return "\n".join([self.subject(message), local_time(message.made_ns, self._zone), words["reference"].format(id=message.id[:8])])
        if message.request is not None:
            return "\n".join([*self._asked(message.request), words["reference"].format(id=message.id)])
        lines = [self.subject(message), words["first"].format(time=local_time(message.first_ns, self._zone))]
        if message.step > 1:
            lines.append(words["step"].format(n=message.step))
        if self._config.shown != "minimal":
            lines.append("")
            for item in message.items[:SHOWN]:
                lines += self._item(item)
            if message.total > SHOWN:
                lines.append(words["more"].format(n=message.total - min(SHOWN, len(message.items))))
            lines.append("")
        lines.append(words["console_at"].format(url=self._console_url) if self._console_url else words["console"])
        lines.append(words["reference"].format(id=message.id[:8]))
        return "\n".join(lines)

    def _asked(self, work: WorkRequest) -> list[str]:
        """A work request: what, why, how soon, how sure, and who asks."""
        words, language = self._words, self._config.language
        urgency = words[work.urgency if work.urgency in ("act", "plan") else "plan"]
        lines = [f"{one_line(self._config.label)} {words['work_request']} ({urgency})".strip(), local_time(work.requested_ns, self._zone)]
        if self._config.shown == "minimal":
            return lines
        lines += [one_line(part.get(language) or part.get("en") or "") for part in (work.what, work.why, work.how_soon, work.how_sure)]
        return [*lines, *([one_line(work.reason)] if work.reason else []), one_line(work.requested_by)]

    def _item(self, item: Item) -> list[str]:
        words, full = self._words, self._config.shown == "full"
        unit = f" ({one_line(item.unit)})" if item.unit else ""
        state = words.get(item.state, words["other"])
        parts = [f"P{item.priority} {local_time(item.raised_ns, self._zone)} {one_line(item.alarm)}{unit}", state]
        if item.first_out:
            parts.append(words["first_out"])
        if full and item.value is not None:
            parts.append(words["value"].format(value=one_line(f"{item.value:.6g} {item.measure}")))
        if full and item.limit is not None:
            parts.append(words["limit"].format(limit=one_line(f"{item.limit:.6g} {item.measure}")))
        lines = [words["join"].join(parts)]
        if full and item.explanation:
            lines.append(f"   {one_line(item.explanation)}")
        response = item.response.get(self._config.language) or item.response.get("en") or ""
        if full and response:
            lines.append("   " + words["response"].format(text=one_line(response)))
        return lines

    def document(self, message: Message) -> dict[str, object]:
        """The same as JSON; keys that the content leaves out are not there."""
        shown = self._config.shown
        found: dict[str, object] = {
            "id": message.id,
            "made_ns": message.made_ns,
            "total": message.total,
            "priorities": {str(p): n for p, n in sorted(message.priorities.items())},
            "step": message.step,
            "first_ns": message.first_ns,
            "simulated": message.simulated,
            **({"test": True} if message.test else {}),
            "label": self._config.label,
            "text": self.text(message),
        }
        if message.request is not None:
            work: dict[str, object] = msgspec.to_builtins(message.request)
            kept = work if shown != "minimal" else {k: work[k] for k in ("id", "urgency", "requested_ns")}
            return {k: found[k] for k in ("id", "made_ns", "label", "text")} | {"work_request": kept}
        if shown != "minimal":
            found["alarms"] = [self._row(item) for item in message.items]
        return found

    def _row(self, item: Item) -> dict[str, object]:
        row: dict[str, object] = {
            "occurrence": item.occurrence,
            "step": item.step,
            "edge": item.edge,
            "alarm": item.alarm,
            "tag": item.tag,
            "unit": item.unit,
            "priority": item.priority,
            "state": item.state,
            "raised_ns": item.raised_ns,
            "simulated": item.simulated,
            "first_out": item.first_out,
        }
        if self._config.shown == "full":
            row |= {"value": item.value, "limit": item.limit, "measure": item.measure, "explanation": item.explanation, "response": item.response}
        return row
