"""A real Chromium over a small plant; without Chromium the browser tests are skipped, in CI they fail."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Chromium takes each script that the driver runs for a person's touch, and the page would play sound before anybody came:
# whether the first such script ran before or after the page looked decided what the page showed. Pointer and keys count as ever.
NOBODY_YET = "Object.defineProperty(navigator, 'userActivation', {value: {hasBeenActive: false, isActive: false}});"
Open = Callable[..., Page]
# A busy computer draws late, and what never comes fails all the same.
expect.set_options(timeout=20_000)


# For a module, not the session: while the driver lives it holds the thread's event loop, and no async test can run.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        reason = f"{CHROMIUM} is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def plant() -> Iterator[Plant]:
    made = Plant()
    yield made
    made.stop()


@pytest.fixture
def served(plant: Plant) -> Iterator[Served]:
    plant.start()
    made = Served(plant).start()
    yield made
    made.stop()


class Complaints(list[str]):
    """What the page's console said in anger."""

    def listen(self, page: Page, *, outage: bool) -> None:
        # A refused connection is what an outage looks like, a status of 4xx what a refusal looks like, and nothing else is forgiven.
        def heard(message: Any) -> None:
            expected = outage and ("net::ERR" in message.text or "responded with a status of 4" in message.text)
            if message.type in ("error", "warning") and not expected:
                self.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: self.append(str(error)))


@pytest.fixture
def open_page(chromium: Browser, served: Served) -> Iterator[Open]:
    contexts: list[BrowserContext] = []
    complaints = Complaints()

    def opened(
        address: str = "",
        *,
        language: str = "en",
        theme: str = "light",
        size: tuple[int, int] = (1280, 720),
        user: str = "",
        outage: bool = False,
        **more: Any,
    ) -> Page:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, locale="en-GB", accept_downloads=True, **more)
        contexts.append(context)
        keep = {"pharmedge.language": language, "pharmedge.theme": theme, **({"pharmedge.user": user} if user else {})}
        # Only where nothing is kept yet, so that a choice made in the test survives a reload.
        lines = "".join(f"localStorage.getItem({k!r}) ?? localStorage.setItem({k!r}, {v!r});" for k, v in keep.items())
        context.add_init_script(lines + NOBODY_YET)
        page = context.new_page()
        page.set_default_timeout(10_000)
        complaints.listen(page, outage=outage)
        page.goto(f"{served.url}/{address}")
        page.wait_for_selector("body:not(.lost) footer .edge-link[data-good]", state="attached")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []
