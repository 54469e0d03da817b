"""The path of a working day: ask for many, compare, mark, find again, hand on; and completion."""

from __future__ import annotations

import re
import uuid
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert

from scripts.config import Config
from service.store.database import utc_in
from service.store.tables import runs
from tests.browser.pages import PROBLEMS, URL, fits, open_page
from tests.support.databases import connected

pytestmark = pytest.mark.browser

BATCH = re.compile(r"/batches/[0-9a-f-]{36}$")
OTHERS = 5000


def ask_for_several(page: Page) -> str:
    """Two rules on three tickers by the form; the address of the batch once all have ended."""
    page.fill("input[name=ticker]", "GOOG, AAPL, SPY")
    page.fill("input[name=more_rules]", "RSI_14_30_70")
    page.keyboard.press("Escape")
    page.locator("form.request button[type=submit]").click()
    expect(page).to_have_url(BATCH)
    expect(page.locator("[data-compare][data-ready]")).to_be_attached(timeout=60_000)
    expect(page.locator(".lead").first).to_contain_text("6")
    return page.url


def add_many_runs(database: Path) -> None:
    """As a year of work leaves them."""
    with connected(Config(sqlite_path=str(database))) as engine, engine.begin() as connection:
        rows = [
            {
                "run_id": str(uuid.uuid4()),
                "request": '{"start_date":"2015-01-02","end_date":"2019-12-31"}',
                "ticker": "SPY",
                "rule_id": f"RSI_{number % 50 + 2}_30_70",
                "prices_fingerprint": "f",
                "rules_digest": "d",
                "status": "completed",
                "attempt": 1,
                "launches": 1,
                "total_return_pct": number % 300 / 10,
                "buy_and_hold_return_pct": 20.0,
                "sharpe_ratio": number % 70 / 100,
                "max_drawdown_pct": 10.0,
                "num_trades": 5,
            }
            for number in range(OTHERS)
        ]
        connection.execute(insert(runs).values(created_at=utc_in()), rows)


def test_ask_compare_mark_find_and_share(
    platform: str, browser: Browser, platform_database: Path
) -> None:
    page = open_page(browser, viewport={"width": 1280, "height": 900})
    ask_for_several(page)
    matrix = page.locator(".matrix tbody td")
    expect(matrix).to_have_count(6)
    expect(page.locator(".matrix strong")).to_have_count(1)

    boxes = page.locator(".matrix [name=run]")
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("button", name="Compare the chosen runs").click()
    expect(page.locator("[data-compare][data-ready]")).to_be_attached()
    expect(page.locator(".compared-runs li")).to_have_count(2)
    before = page.locator(".legend").inner_text()
    page.locator(".panes").press("ArrowLeft")
    expect(page.locator(".legend")).not_to_have_text(before)

    page.locator(".compared-runs a").first.click()
    page.get_by_role("button", name="Star").click()
    expect(page.locator(".marks [aria-pressed=true]")).to_be_visible()
    page.get_by_text("Tags and note").click()
    page.fill(".marks [name=tags]", "idea")
    page.fill(".marks [name=note]", "Holds up before 2018.")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".marks .tag")).to_have_text("idea")
    expect(page.locator(".marks .written")).to_have_text("Holds up before 2018.")
    chosen = page.url.partition("#")[0].rpartition("/")[2]

    add_many_runs(platform_database)
    page.goto(f"{URL}/runs")
    expect(page.locator(".runs tbody tr")).to_have_count(50)
    search = page.locator("input[name=q]")
    search.fill("")
    search.press_sequentially("ticker=go")
    page.get_by_role("option", name="ticker=GOOG").click()
    search.press_sequentially("star note~before")
    search.press("Escape")
    search.press("Enter")
    expect(page.locator(".runs tbody tr")).to_have_count(1)
    expect(page.locator(f"#run-{chosen}")).to_be_visible()
    expect(page.locator(".pages")).to_have_text(re.compile("^1 run"))

    colleague = open_page(browser, page.url.removeprefix(URL), locale="ko-KR")
    expect(colleague.locator(f"#run-{chosen}")).to_be_visible()
    expect(colleague.locator("h1")).to_have_text("전체 실행 기록")
    page.goto(f"{URL}/runs?sort=-sharpe_ratio")
    page.get_by_role("link", name="Next").click()
    page.get_by_role("link", name="Previous").click()
    assert "sort=-sharpe_ratio" in page.url
    assert not PROBLEMS


def test_tickers_complete_and_dates_stay_where_there_are_prices(
    platform: str, browser: Browser
) -> None:
    page = open_page(browser)
    page.fill("input[name=start_date]", "2015-03-02")
    page.fill("input[name=end_date]", "2018-06-29")
    ticker = page.locator("input[name=ticker]")
    ticker.fill("")
    ticker.press_sequentially("aap")
    expect(page.locator(".suggestions li")).to_have_text(re.compile("^AAPL"))
    ticker.press("ArrowDown")
    ticker.press("Enter")
    expect(ticker).to_have_value("AAPL, ")
    expect(page.locator("[data-range]")).to_contain_text("AAPL")
    expect(page.locator("input[name=start_date]")).to_have_value("2015-03-02")
    expect(page.locator("input[name=end_date]")).to_have_value("2018-06-29")
    page.fill("input[name=end_date]", "2050-01-01")
    ticker.fill("SPY")
    ticker.press("Tab")
    expect(page.locator("input[name=end_date]")).to_have_value("2020-05-01")
    page.get_by_role("button", name="3 years").click()
    expect(page.locator("input[name=start_date]")).to_have_value("2017-05-01")


def test_bulk_actions_ask_before_they_delete(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    address = ask_for_several(page)
    page.goto(f"{URL}/runs?q=batch={address.rpartition('/')[2]}")
    page.locator(".runs [name=run]").first.check()
    expect(page.locator("[data-chosen]")).to_have_text("1")
    page.get_by_role("button", name="Delete ...").click()
    expect(page.locator("main li")).to_have_count(1)
    page.get_by_role("button", name="Delete for good").click()
    expect(page.locator(".done")).to_have_text("1 run was deleted.")
    expect(page.locator(".runs tbody tr")).to_have_count(5)
    expect(page).not_to_have_url(re.compile("did="))


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_lists_batches_and_comparisons_fit(
    platform: str, browser: Browser, width: int, locale: str
) -> None:
    page = open_page(browser, viewport={"width": width, "height": 800}, locale=locale)
    assert fits(page)
    ask_for_several(page)
    assert fits(page)
    page.goto(f"{URL}/runs")
    assert fits(page)
    page.goto(f"{URL}/runs?q=sharp")
    assert fits(page)


def test_without_javascript_everything_works(platform: str, browser: Browser) -> None:
    page = open_page(browser, java_script_enabled=False)
    page.fill("input[name=ticker]", "GOOG SPY")
    page.locator("form.request button[type=submit]").click()
    expect(page).to_have_url(BATCH)
    # The page loads itself anew until all have ended.
    expect(page.locator(".still path[d^=M]")).to_have_count(2, timeout=60_000)
    for box in page.locator(".matrix [name=run]").all():
        box.check()
    page.locator(".batch button").click()
    expect(page.locator(".compared-runs li")).to_have_count(2)
    page.goto(f"{URL}/runs")
    page.locator(".runs [name=run]").first.check()
    page.fill("input[name=tag]", "plain")
    page.get_by_role("button", name="Add the tag").click()
    expect(page.locator(".done")).to_have_text("1 run has the tag now.")
    page.fill("input[name=q]", "tag=plain")
    page.locator(".search button").click()
    expect(page.locator(".runs tbody tr")).to_have_count(1)
