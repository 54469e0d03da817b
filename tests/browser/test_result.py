"""The result page in a real browser: chart, trades, tear sheet, no JavaScript, no canvas."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import PROBLEMS, URL, fits, open_page

pytestmark = pytest.mark.browser

REQUEST = {
    "ticker": "GOOG",
    "rule_id": "ANY(MA_CROSS_10_30,RSI)",
    "start_date": "2013-01-02",
    "end_date": "2023-09-21",
}
FIRST_SCREEN = {"width": 1280, "height": 900}


def submit(**change: Any) -> str:
    """Submits a run, waits for its end; the address of its page."""
    body = json.dumps({**REQUEST, **change}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{URL}/backtest", body, headers)
    with urllib.request.urlopen(request) as answer:
        run_id = json.load(answer)["run_id"]
    with urllib.request.urlopen(f"{URL}/status/{run_id}?wait=20") as answer:
        assert json.load(answer)["status"] == "completed"
    return f"/result/{run_id}"


def open_result(browser: Browser, address: str, **options: Any) -> Page:
    """The page with its chart drawn."""
    page = open_page(browser, address, **options)
    expect(page.locator("[data-ready]")).to_be_attached()
    return page


def legend(page: Page) -> str:
    return page.locator(".legend").inner_text()


def test_the_answer_is_on_the_first_screen(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    for part in (".verdict", ".tiles", ".lead", ".panes"):
        box = page.locator(part).first.bounding_box()
        assert box is not None
        assert box["y"] + min(box["height"], 200) < 900, part
    assert page.locator(".tiles > div").count() == 6
    assert page.locator(".panes canvas").count() > 0


def test_the_chart_answers_to_mouse_and_keys(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    assert "2023-09-21" in legend(page)
    for name in ("Open", "Close", "Strategy", "Buy and hold", "Drawdown", "SMA 10", "RSI 14"):
        assert name in legend(page)
    panes = page.locator(".panes")
    box = panes.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 300, box["y"] + 100)
    expect(page.locator(".legend")).not_to_contain_text("2023-09-21")
    shown = legend(page)
    panes.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".legend")).not_to_have_text(shown)
    page.keyboard.press("+")
    page.get_by_role("button", name="Candles").click()
    expect(page.get_by_role("button", name="Candles")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Logarithmic").click()
    for years in ("1 year", "3 years", "5 years", "All"):
        page.get_by_role("button", name=years, exact=True).click()


def test_zooming_in_shows_every_bar(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    expect(page.locator(".note")).to_contain_text("zoom in")
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.get_by_role("button", name="1 year", exact=True).click()
    expect(page.locator(".note")).to_be_hidden()
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(".note")).to_contain_text("zoom in")


def shown_bars(page: Page) -> tuple[int, int]:
    """The numbers of the first and the last bar on the screen."""
    span = page.locator(".chart").evaluate("node => node.shownBars()")
    return span["first"], span["last"]


def await_bars(page: Page, are_there: Callable[[int, int], bool]) -> None:
    """Waits until the numbers of the first and the last bar on the screen are such."""
    for _ in range(600):
        if are_there(*shown_bars(page)):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"the bars {shown_bars(page)} are on the screen")


def await_a_frame(page: Page) -> None:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def test_a_trade_leads_to_the_chart_and_back(platform: str, browser: Browser) -> None:
    """Also where another part of the chart is on the screen, which does not have the trade."""
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.get_by_role("button", name="1 year", exact=True).click()
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.locator("#trade-1 a").click()
    expect(page.locator(".panes")).to_be_focused()
    # The trade's entry is the bar after the slow average begins.
    await_bars(page, lambda first, last: first <= 29 <= last)
    assert shown_bars(page)[1] < 300
    assert page.locator(".panes").evaluate("node => node.getBoundingClientRect().top") < 400


def test_panning_and_zooming_out_load_what_is_there(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.get_by_role("button", name="1 year", exact=True).click()
    await_bars(page, lambda first, last: first > 2400)
    before = shown_bars(page)
    box = page.locator(".panes").bounding_box()
    assert box is not None
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        for _ in range(3):
            page.mouse.move(box["x"] + 100, box["y"] + 100)
            page.mouse.down()
            page.mouse.move(box["x"] + 1000, box["y"] + 100, steps=5)
            page.mouse.up()
    await_bars(page, lambda first, last: last < before[0])
    page.get_by_role("button", name="5 years", exact=True).click()
    await_bars(page, lambda first, last: abs(last - first - 5 * 252) <= 20)


def test_points_that_arrive_late_leave_the_view_where_it_is(
    platform: str, browser: Browser
) -> None:
    """A hand moves the chart on while other points are on their way."""
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.get_by_role("button", name="1 year", exact=True).click()
    await_bars(page, lambda first, last: first > 2400)
    page.route(re.compile(r"chart\.json\?first="), lambda route: None)  # holds it
    box = page.locator(".panes").bounding_box()
    assert box is not None
    with page.expect_request(re.compile(r"chart\.json\?first=")):
        for _ in range(2):
            page.mouse.move(box["x"] + 100, box["y"] + 100)
            page.mouse.down()
            page.mouse.move(box["x"] + 1000, box["y"] + 100, steps=5)
            page.mouse.up()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 200, box["y"] + 100, steps=5)
    await_a_frame(page)
    moved = shown_bars(page)
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.unroute_all()  # lets go what is held
    await_a_frame(page)
    assert shown_bars(page) == moved
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.mouse.up()
    await_a_frame(page)
    assert shown_bars(page) == pytest.approx(moved, abs=3)


def test_a_late_answer_changes_nothing(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN)
    page.route(re.compile(r"chart\.json\?first="), lambda route: (time.sleep(1), route.continue_()))
    with page.expect_response(re.compile(r"chart\.json\?first=")):
        page.get_by_role("button", name="1 year", exact=True).click()
        page.get_by_role("button", name="All", exact=True).click()
    await_a_frame(page)
    assert shown_bars(page) == (0, 2698)


def test_many_trades_are_shown_where_there_is_room(platform: str, browser: Browser) -> None:
    page = open_result(
        browser, submit(rule_id="MOMENTUM_1", end_date="2019-10-01"), viewport=FIRST_SCREEN
    )
    expect(page.locator(".note")).to_contain_text("trades: zoom in")
    page.get_by_role("button", name="1 year", exact=True).click()
    expect(page.locator(".note")).to_be_hidden()


def test_candles_and_scheme_keep_the_view(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit(), viewport=FIRST_SCREEN, color_scheme="light")
    page.get_by_role("button", name="1 year", exact=True).click()
    await_bars(page, lambda first, last: first > 2400)
    before = shown_bars(page)
    page.get_by_role("button", name="Logarithmic").click()
    page.get_by_role("button", name="Candles").click()
    page.emulate_media(color_scheme="dark")
    await_a_frame(page)
    assert shown_bars(page) == pytest.approx(before, abs=3)
    button = page.get_by_role("button", name="Candles")
    button.evaluate("node => { for (let press = 0; press < 4; press += 1) node.click(); }")
    await_a_frame(page)
    assert shown_bars(page) == pytest.approx(before, abs=3), "also pressed faster than drawn"
    expect(page.get_by_role("button", name="Logarithmic")).to_have_attribute("aria-pressed", "true")


def test_trades_are_sorted_in_their_place(platform: str, browser: Browser) -> None:
    page = open_result(browser, submit())
    page.get_by_role("link", name="Gain", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Gain")
    expect(page.get_by_role("link", name="Gain", exact=True)).to_be_focused()
    assert "sort=-pnl" in page.url
    page.get_by_role("link", name="Losses").click()
    expect(page.locator("#trades tbody tr.gain")).to_have_count(0)
    page.reload()
    expect(page.locator("#trades tbody tr.gain")).to_have_count(0)


def test_the_page_is_readable_without_javascript(platform: str, browser: Browser) -> None:
    page = open_page(browser, submit(), java_script_enabled=False, color_scheme="dark")
    image = page.locator("noscript img, figure img").first
    expect(image).to_be_visible()
    expect(page.locator(".panes")).to_be_hidden()
    page.get_by_role("link", name="Gain", exact=True).click()
    expect(page.locator("th[aria-sort=descending]")).to_contain_text("Gain")
    page.locator(".menu summary").click()
    expect(page.get_by_role("link", name="Report in one file")).to_be_visible()


def test_a_browser_without_canvas_shows_the_figure(platform: str, browser: Browser) -> None:
    page = browser.new_context(locale="en-US").new_page()
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(URL + submit())
    expect(page.locator(".chart figure img")).to_be_visible()
    expect(page.locator(".note")).to_contain_text("could not be loaded")


def test_the_report_opens_from_a_file(
    platform: str, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = open_page(browser, submit())
    page.locator(".menu summary").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Report in one file").click()
    path = tmp_path_factory.mktemp("report") / "report.html"
    download.value.save_as(path)
    report = browser.new_context(offline=True).new_page()
    report.goto(path.as_uri())
    expect(report.locator(".verdict")).to_contain_text("of holding")
    assert report.locator("figure img").first.evaluate("node => node.naturalWidth") == 1200
    assert report.locator(".tiles").evaluate("node => getComputedStyle(node).display") == "grid"


@pytest.mark.parametrize(
    "change",
    [
        {"rule_id": "BB_20_10"},
        {"rule_id": "VALUE_756_60"},
        {"rule_id": "MOMENTUM_1"},
        {"start_date": "2013-01-02", "end_date": "2013-01-04", "rule_id": "MOMENTUM_1"},
    ],
    ids=["no trade", "few trades", "hundreds of trades", "three bars"],
)
@pytest.mark.parametrize("width", [390, 1280])
def test_charts_of_unusual_runs(
    platform: str, browser: Browser, change: dict[str, str], width: int
) -> None:
    page = open_result(browser, submit(**change), viewport={"width": width, "height": 900})
    assert fits(page)
    assert PROBLEMS == []
