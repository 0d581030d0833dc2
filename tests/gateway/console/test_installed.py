"""The console as an installed app: it opens without the gateway and shows nothing old; a cold page is there within a second."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from gateway.console.app import STATIC
from tests.gateway.console.conftest import Open
from tests.gateway.console.plant import Plant
from tests.gateway.console.serve import Served


def test_the_manifest_and_every_file_that_is_named_are_there() -> None:
    manifest = json.loads((STATIC / "manifest.webmanifest").read_text("utf-8"))
    assert {"name", "short_name", "start_url", "display", "icons"} <= manifest.keys()
    page = (STATIC / "index.html").read_text("utf-8")
    named = [icon["src"] for icon in manifest["icons"]] + re.findall(r'(?:href|src)="([^"]+)"', page)
    assert [name for name in named if not (STATIC / name).is_file()] == []


def test_the_worker_keeps_no_answer_of_the_api() -> None:
    worker = (STATIC / "sw.js").read_text("utf-8")
    assert "(api|metrics|healthz|readyz|version)" in worker


def worker_is_ready(page: Page) -> None:
    page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    page.wait_for_function("navigator.serviceWorker.controller !== null")


@pytest.mark.browser
def test_without_the_gateway_it_opens_and_says_so_with_no_value_on_it(open_page: Open, plant: Plant, served: Served) -> None:
    plant.raise_alarm("press1/ejection_force", "high", 2)
    page = open_page(outage=True)
    worker_is_ready(page)
    page.reload()  # now every file passes through the worker
    page.wait_for_selector(".indicator[data-quality=good]")
    kept = page.evaluate("caches.open('pharmedge-files').then(c => c.keys()).then(k => k.map(r => new URL(r.url).pathname))")
    assert "/js/main.js" in kept
    assert [path for path in kept if path.startswith("/api")] == []
    served.stop()
    page.reload()
    page.wait_for_selector("body.lost .lost-bar:visible")
    expect(page.locator(".lost-bar")).to_contain_text("The gateway does not answer")
    assert page.locator(".indicator").count() == 0
    expect(page.locator(".banner .b-text")).not_to_contain_text("Ejection force")
    served.start()
    page.wait_for_selector("body:not(.lost) .indicator[data-quality=good]")


@pytest.mark.browser
def test_a_cold_page_is_usable_soon(open_page: Open) -> None:
    page = open_page()
    page.wait_for_selector(".indicator[data-quality=good]")
    ran = page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    usable = page.evaluate("performance.getEntriesByName('usable')[0]?.startTime ?? null")
    print(f"usable after {usable:.0f} ms, document there after {ran:.0f} ms")
    # The aim is a second on a machine of its own; here others compute beside it.
    assert usable < 4000
