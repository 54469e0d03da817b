"""The path of whoever misses a ticker: refused, upload, what was found, stored, backtested."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, FilePayload, Page, expect

from tests.browser.pages import URL, fits, open_page, run_it
from tests.support.prices import prices

pytestmark = pytest.mark.browser

# Semicolons, decimal commas, newest first, and a bar that is there twice in the bad one.
GOOD = prices("GOOG", 900).iloc[::-1].to_csv(sep=";", decimal=",").encode()
BAD = prices("GOOG", 9).iloc[[0, 1, 1, 2]].to_csv().encode()


def choose(page: Page, name: str, data: bytes) -> None:
    file: FilePayload = {"name": name, "mimeType": "text/csv", "buffer": data}
    page.set_input_files("input[name=files]", files=[file])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("locale", "width", "twice", "stored"),
    [
        ("en-US", 1280, "the date stands there twice", "Stored."),
        ("ko-KR", 390, "같은 날짜가 두 번 있습니다", "저장했습니다."),
    ],
)
def test_from_a_missing_ticker_to_its_backtest(
    platform: str,
    browser: Browser,
    scheme: str,
    locale: str,
    width: int,
    twice: str,
    stored: str,
) -> None:
    ticker = f"NEW{locale[:2].upper()}{scheme[:1].upper()}"
    page = open_page(
        browser, locale=locale, color_scheme=scheme, viewport={"width": width, "height": 900}
    )
    page.fill("input[name=ticker]", ticker)
    page.get_by_role("button", name=re.compile("^(Run|실행)$")).click()
    page.get_by_role(
        "link", name=re.compile(f"(Add prices of {ticker}|{ticker} 가격 추가)")
    ).click()
    expect(page.locator("input[name=ticker]")).to_have_value(ticker)
    choose(page, "bad.csv", BAD)
    page.get_by_role("button", name=re.compile("^(Store|저장)$")).click()
    expect(page.get_by_role("alert")).to_contain_text(twice)
    choose(page, "good.csv", GOOD)
    page.fill("input[name=ticker]", ticker)
    page.get_by_role("button", name=re.compile("^(Check|확인만)$")).click()
    expect(page.locator("section.report li")).to_have_count(3)
    page.wait_for_load_state()
    assert fits(page)
    choose(page, "good.csv", GOOD)
    page.fill("input[name=ticker]", ticker)
    page.get_by_role("button", name=re.compile("^(Store|저장)$")).click()
    expect(page.get_by_role("status")).to_contain_text(stored)
    page.wait_for_load_state()
    assert fits(page)
    page.goto(f"{URL}/prices/{ticker}")
    expect(page.locator("figure.closes polyline")).to_be_visible()
    page.wait_for_load_state()
    assert fits(page)
    page.get_by_role("link", name=re.compile("^(Backtest it|백테스트)$")).click()
    expect(page.locator("input[name=ticker]")).to_have_value(ticker)
    page.fill("input[name=start_date]", "2013-01-02")
    page.fill("input[name=end_date]", "2016-06-01")
    run_it(page)


@pytest.mark.parametrize(
    ("locale", "width", "why", "name"),
    [
        ("en-US", 1280, "Yahoo Finance cannot be reached", "Alphabet Inc"),
        ("ko-KR", 390, "Yahoo Finance에 연결할 수 없습니다", "구글"),
    ],
)
def test_a_name_is_typed_and_a_vendor_is_away(
    platform: str, browser: Browser, locale: str, width: int, why: str, name: str
) -> None:
    size = {"width": width, "height": 900}
    page = open_page(browser, "/prices", locale=locale, viewport=size)
    choose(page, f"NAMED{width}.csv", GOOD)
    page.fill("input[name=name]", name)
    page.get_by_role("button", name=re.compile("^(Store|저장)$")).click()
    expect(page.get_by_role("status")).to_be_visible()
    page.goto(URL)
    page.fill("input[name=ticker]", "")
    page.locator("input[name=ticker]").press_sequentially(name[:3])
    suggestion = page.get_by_role("option", name=re.compile(f"NAMED{width}.*{name}"))
    suggestion.click()
    expect(page.locator("input[name=ticker]")).to_have_value(re.compile(f"^NAMED{width}"))
    page.goto(f"{URL}/prices/{name}")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"NAMED{width}")
    page.goto(f"{URL}/prices?ticker=MSFT")
    page.get_by_role("button", name=re.compile("^(Fetch|가져오기)$")).click()
    expect(page.locator(".state")).to_be_visible()
    # Its page follows it to its end: the machine of the tests reaches no vendor.
    expect(page.get_by_role("alert")).to_contain_text(why, timeout=60_000)
    page.wait_for_load_state()
    assert fits(page)


def test_files_are_dropped_and_sent_without_javascript(platform: str, browser: Browser) -> None:
    page = open_page(browser, "/prices", java_script_enabled=False)
    choose(page, "plain.csv", GOOD)
    page.get_by_role("button", name="Store").click()
    expect(page.get_by_role("status")).to_contain_text("Stored.")
