"""The panel in a real Chromium, as a person beside the line meets it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.gateway.console.conftest import Complaints, chromium
from tests.local.line import PEOPLE, Line, ServedPanel, listed

__all__ = ["chromium"]
OpenPanel = Callable[..., Page]
expect.set_options(timeout=20_000)


@pytest.fixture
def served() -> Iterator[ServedPanel]:
    line = Line()
    line.people.take("gw1", listed(*PEOPLE, issued_ns=time.time_ns() - 120 * 1_000_000_000))
    line.committed([])
    made = ServedPanel(line).start()
    yield made
    made.stop()


@pytest.fixture
def open_panel(chromium: Browser, served: ServedPanel) -> Iterator[OpenPanel]:
    contexts: list[BrowserContext] = []
    complaints = Complaints()

    def opened(*, language: str = "en", theme: str = "light", size: tuple[int, int] = (1280, 800), outage: bool = False, script: str = "") -> Page:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, locale="en-GB")
        contexts.append(context)
        keep = {"pharmedge.language": language, "pharmedge.theme": theme}
        context.add_init_script("".join(f"localStorage.getItem({k!r}) ?? localStorage.setItem({k!r}, {v!r});" for k, v in keep.items()))
        if script:
            context.add_init_script(script)
        page = context.new_page()
        page.set_default_timeout(10_000)
        complaints.listen(page, outage=outage)
        page.goto(served.url)
        page.wait_for_selector("body:not(.stale) .empty, body:not(.stale) .alarm", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
