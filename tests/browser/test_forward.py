"""A run is starred, newer prices arrive, and pages say what it made of them."""

from __future__ import annotations

import re
import urllib.request

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import URL, fits, open_page
from tests.browser.test_result import submit
from tests.support.prices import prices

pytestmark = pytest.mark.browser

TICKER = "LATER"
SECONDS = 60  # the controller looks every ten


def store_bars(count: int) -> None:
    """The first bars of GOOG, as the prices of a ticker of its own."""
    data = prices("GOOG", count).to_csv().encode()
    request = urllib.request.Request(f"{URL}/prices/{TICKER}", data, {"Content-Type": "text/csv"})
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200


def wait_for_bars(page: Page) -> None:
    """Looks again until the newer prices have extended the run."""
    since = page.locator("#since")
    for _ in range(SECONDS):
        if "21 new bars" in since.inner_text():
            return
        page.wait_for_timeout(1000)
        page.reload()
    raise AssertionError(since.inner_text())


def test_a_starred_run_goes_on_with_newer_prices(platform: str, browser: Browser) -> None:
    store_bars(900)
    address = submit(ticker=TICKER, rule_id="MA_CROSS_10_30", end_date="2030-01-01")
    page = open_page(browser, address)
    since = page.locator("#since")
    expect(since).to_contain_text("Star this run to see what it makes")
    page.get_by_role("button", name=re.compile("Star$")).click()
    expect(since).to_contain_text(f"As soon as there are newer prices of {TICKER}")
    store_bars(921)
    wait_for_bars(page)
    expect(since).to_contain_text("In 95 of 100 cases as many bars bring")
    page.locator("#since").get_by_role("link", name="Forward record").click()
    row = page.get_by_role("row").filter(has_text=TICKER)
    expect(row).to_contain_text("21")
    row.get_by_role("link").click()
    expect(page).to_have_url(f"{URL}{address}#since")


@pytest.mark.parametrize(
    ("locale", "width", "scheme"), [("en-US", 390, "dark"), ("ko-KR", 1280, "light")]
)
def test_the_pages_fit(
    platform: str, browser: Browser, locale: str, width: int, scheme: str
) -> None:
    submit(rule_id="MA_CROSS_9_32")
    address = submit(rule_id="MA_CROSS_9_31")
    options = {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    page = open_page(browser, address, locale=locale, **options)
    tries = page.locator("details.tries")
    facts = tries.locator("dl > div")
    expect(facts.first).not_to_be_visible()
    tries.locator("summary").click()
    expect(facts.first).to_be_visible()
    assert facts.count() == 6
    page.wait_for_load_state()
    assert fits(page)
    page.goto(URL + address)
    page.get_by_role("button", name=re.compile("(Star|별표)$")).click()
    expect(page.locator("[aria-pressed=true]").first).to_be_visible()
    page.goto(f"{URL}/forward")
    heading = page.locator(".forward thead")
    expect(heading).to_be_visible()
    page.wait_for_load_state()
    assert fits(page)
    box = heading.bounding_box()
    assert box is not None
    assert box["height"] < 120, "words stay whole, also where no run has a record yet"
