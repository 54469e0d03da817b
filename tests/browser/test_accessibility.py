"""axe-core finds nothing on any page, in both languages, light and dark, wide and narrow."""

from __future__ import annotations

import urllib.request

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import URL, open_page
from tests.browser.test_browser import search
from tests.browser.test_result import submit
from tests.browser.test_runs import ask_for_several

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def addresses(platform: str, browser: Browser) -> list[str]:
    """Every kind of page."""
    result, other = submit(), submit(rule_id="RSI")
    batch = ask_for_several(open_page(browser)).removeprefix(URL)
    page = open_page(browser, "/prices?ticker=MSFT")
    page.get_by_role("button", name="Fetch").click()
    fetch = page.url.removeprefix(URL)
    page = open_page(browser, "/sweeps")
    search(page)
    sweep = page.url.removeprefix(URL)
    star = urllib.request.Request(
        f"{URL}/runs/{result.rpartition('/')[2]}/marks",
        b'{"star": true}',
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(star).close()
    return [
        "/",
        f"/?run={result.rpartition('/')[2]}",
        "/runs",
        "/runs?q=sharp",
        f"/compare?run={result.rpartition('/')[2]}&run={other.rpartition('/')[2]}",
        batch,
        "/sweeps",
        sweep,
        result,
        f"{result}/report",
        "/prices",
        "/prices/GOOG",
        fetch,
        "/forward",
        "/docs",
        "/docs/style",
        "/nothing-here",
    ]


def findings(page: Page) -> list[str]:
    """What axe-core says of the page, a line each."""
    answer = Axe().run(page).response
    return [
        f"{violation['id']}: {node['html'][:120]}"
        for violation in answer["violations"]
        for node in violation["nodes"]
    ]


# Each two of language, width and scheme meet once.
@pytest.mark.parametrize(
    ("locale", "width", "scheme"),
    [
        ("en-US", 1280, "light"),
        ("en-US", 390, "dark"),
        ("ko-KR", 390, "light"),
        ("ko-KR", 1280, "dark"),
    ],
)
def test_axe_finds_nothing(
    browser: Browser, addresses: list[str], scheme: str, width: int, locale: str
) -> None:
    page = open_page(
        browser, color_scheme=scheme, viewport={"width": width, "height": 900}, locale=locale
    )
    found = {}
    for address in addresses:
        page.goto(URL + address)
        found[address] = findings(page)
    assert {address: lines for address, lines in found.items() if lines} == {}


def test_axe_finds_what_is_wrong(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert any("image-alt" in line for line in findings(page))


def test_the_focus_goes_to_the_first_error(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    page.fill("input[name='MA_CROSS.fast']", "77")
    page.get_by_role("button", name="Run", exact=True).click()
    field = page.locator("input[name='MA_CROSS.fast']")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert findings(page) == []


def test_a_run_is_asked_for_and_read_by_keyboard_alone(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == "Run":
            break
    page.keyboard.press("Enter")
    expect(page.locator("[data-ready]")).to_be_attached(timeout=30_000)
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.className || document.activeElement.textContent.trim()"
            )
        )
    assert {"panes", "Change", "button quiet", "Candles"} & reached >= {"panes"}
