"""Texts in both languages, and what they must not tell."""

from __future__ import annotations

import re

import pytest

from gateway.notify import MqttConfig, SmtpConfig, WebhookConfig
from gateway.notify.receiver import Content, Language, ReceiverConfig
from gateway.notify.words import WORDS, Writer
from tests.gateway.notify.made import SHANGHAI, message

TELLING = ("press1", "main_force", "demo", "press-edge-1", "16.5", "16.0", "kN", "B-2026-0042", "Stop", "停机")


def writer(content: Content | None = None, language: Language = "en", **more: object) -> Writer:
    config = MqttConfig.model_validate({"name": "m", "topic": "t", "content": content, "language": language, **more})
    return Writer(config, SHANGHAI)


def test_both_languages_have_the_same_texts_with_the_same_places() -> None:
    places = {language: {key: sorted(re.findall(r"{(\w+)}", text)) for key, text in words.items()} for language, words in WORDS.items()}
    assert places["en"] == places["zh"]
    assert all(re.search(r"[\u4e00-\u9fff，]", text) for text in WORDS["zh"].values())


def test_an_english_message_in_full() -> None:
    named = "press1/main_force.high (demo/solids/press-line/press1)"
    assert writer("full", label="Line 3").text(message(2, step=2)).splitlines() == [
        "Line 3 2 alarms need attention (priority 2: 2)",
        "The first was raised at 2026-01-01 08:00:00 +0800.",
        "Escalation step 2.",
        "",
        *[
            f"P2 2026-01-01 08:00:00 +0800 {named}, active, not acknowledged, value 16.5 kN, limit 16 kN",
            "   16.5 kN above 16.0 kN in batch B-2026-0042",
            "   Response: Stop the press",
        ]
        * 2,
        "",
        "See the console.",
        "Reference 01234567",
    ]


def test_a_chinese_message_with_names() -> None:
    assert writer("names", "zh").text(message(1, simulated=True)).splitlines() == [
        "【模拟】1 条报警需要处理（优先级 2：1 条）",
        "最早触发时间 2026-01-01 08:00:00 +0800。",
        "",
        "P2 2026-01-01 08:00:00 +0800 press1/main_force.high (demo/solids/press-line/press1)，报警中，未确认",
        "",
        "请查看控制台。",
        "编号 01234567",
    ]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_minimal_message_tells_no_values_names_or_batch_numbers(language: Language) -> None:
    made = writer("minimal", language)
    told = made.text(message(12)) + made.subject(message(12)) + repr(made.document(message(12)))
    assert not [word for word in TELLING if word in told]
    assert "12" in told


def test_names_tell_no_values_nor_batch_numbers() -> None:
    told = writer("names").text(message()) + repr(writer("names").document(message()))
    assert not [word for word in ("16.5", "16.0", "kN", "B-2026-0042") if word in told]


@pytest.mark.parametrize(
    ("config", "shown"),
    [
        (SmtpConfig.model_validate({"name": "m", "host": "h", "sender": "a@b.c", "to": ["d@e.f"]}), "names"),
        (WebhookConfig(name="w", url="http://x"), "names"),
        (WebhookConfig(name="w", style="wecom", url="http://x"), "minimal"),
        (WebhookConfig(name="w", style="dingtalk", url="http://x"), "minimal"),
        (WebhookConfig(name="w", style="dingtalk", url="http://x", content="full"), "full"),
    ],
)
def test_robots_are_told_least_unless_somebody_says_otherwise(config: ReceiverConfig, shown: str) -> None:
    assert config.shown == shown


def test_a_flood_is_told_in_a_few_lines() -> None:
    lines = writer("names").text(message(300)).splitlines()
    assert "and 290 more" in lines
    assert len(lines) == 17
