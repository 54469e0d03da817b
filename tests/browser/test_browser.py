"""The dashboard in a real browser: forms, results, light and dark, wide and narrow windows."""

from __future__ import annotations

import csv
import io
import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.pages import URL, fits, open_page, run_it

pytestmark = pytest.mark.browser


def test_the_form_leads_to_the_result(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    page.fill("input[name=ticker]", "GOOG")
    page.fill("input[name=end_date]", "2020-02-07")
    run_it(page)
    tile = page.locator(".tiles > div").first
    expect(tile).to_contain_text("Total return")
    expect(tile).to_contain_text("162.95 %")
    expect(page.locator("h1")).to_contain_text("MA_CROSS_10_30")
    page.get_by_text("Provenance").click()
    expect(page.get_by_text("prices_fingerprint")).to_be_visible()
    page.get_by_role("link", name="Change").click()
    expect(page.locator("input[name=end_date]")).to_have_value("2020-02-07")


def test_parameters_follow_the_rule_and_dates_the_ticker(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    expect(page.locator("fieldset[data-rule=MA_CROSS]")).to_be_visible()
    page.select_option("select[name=rule]", "RSI")
    expect(page.locator("fieldset[data-rule=MA_CROSS]")).to_be_hidden()
    expect(page.locator("input[name='RSI.period']")).to_have_value("14")
    page.fill("input[name=ticker]", "SPY")
    page.keyboard.press("Tab")
    expect(page.locator("input[name=end_date]")).to_have_value("2020-05-01")
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator("input[name=start_date]")).to_have_value("2000-05-01")
    page.fill("input[name='RSI.oversold']", "35")
    run_it(page)
    expect(page.locator("h1")).to_contain_text("RSI_14_35_70")


def test_a_combination_of_rules_is_run(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    page.select_option("select[name=rule]", "COMPOSITE")
    page.select_option("select[name=mode]", "MAJORITY")
    for number, rule_id in enumerate(("MA_CROSS_10_30", "RSI_14_30_70", "MACD_12_26_9"), 1):
        page.fill(f"input[name=member{number}]", rule_id)
    run_it(page)
    expect(page.locator("h1")).to_contain_text("MAJORITY(MA_CROSS_10_30,RSI_14_30_70,MACD_12_26_9)")


def test_a_refused_form_keeps_what_was_typed(platform: str, browser: Browser) -> None:
    page = open_page(browser)
    page.fill("input[name='MA_CROSS.fast']", "77")
    page.get_by_role("button", name="Run", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("fast must be below slow, got 77 and 30.")
    expect(page.locator("input[name='MA_CROSS.fast']")).to_have_value("77")


def test_the_form_works_without_javascript(platform: str, browser: Browser) -> None:
    page = open_page(browser, java_script_enabled=False)
    page.select_option("select[name=rule]", "BREAKOUT")
    page.get_by_role("button", name="Show its parameters").click()
    expect(page.locator("input[name='BREAKOUT.entry']")).to_be_visible()
    run_it(page)


def test_the_pages_are_in_korean_for_a_korean_browser(platform: str, browser: Browser) -> None:
    page = open_page(browser, locale="ko-KR")
    expect(page.locator("h1")).to_have_text("새 백테스트")
    run_it(page)
    expect(page.locator("#metrics")).to_contain_text("샤프 비율")
    page.get_by_role("link", name="English").click()
    expect(page.locator("#metrics")).to_contain_text("Sharpe ratio")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_every_page_fits_and_is_readable(
    platform: str, browser: Browser, scheme: str, width: int, locale: str
) -> None:
    page = open_page(
        browser, color_scheme=scheme, viewport={"width": width, "height": 900}, locale=locale
    )
    assert fits(page)
    luminance = page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (sum(luminance) > 600) == (scheme == "light")
    run_it(page)
    assert fits(page)
    page.goto(f"{URL}/runs")
    assert fits(page)
    page.goto(f"{URL}/nothing-here")
    assert fits(page)


def search(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^(Search|탐색)$")).click()
    expect(page).to_have_url(re.compile(r"/sweeps/[0-9a-f-]{36}$"))
    figure = page.locator(".cells canvas:visible, .heatmap input:visible")
    expect(figure).to_be_visible(timeout=60_000)
    page.wait_for_load_state()


def test_without_javascript_a_cell_of_a_search_is_run_by_a_click(
    platform: str, browser: Browser
) -> None:
    page = open_page(browser, "/sweeps", java_script_enabled=False)
    page.fill("input[name=tickers]", "GOOG")
    page.fill("input[name='MA_CROSS.fast']", "5:25:5")
    page.fill("input[name='MA_CROSS.slow']", "30:80:10")
    search(page)
    expect(page.locator("h2").first).to_contain_text("MA_CROSS_")
    expect(page.locator(".checks")).to_contain_text("Deflated Sharpe ratio")
    rows = page.locator("#table ~ form tbody tr")
    expect(rows).to_have_count(30)
    page.get_by_role("link", name="slow").click()
    expect(rows.first).to_contain_text("80")
    page.fill("input[name=where]", "fast=10 slow<50")
    page.get_by_role("button", name="Filter").click()
    expect(rows).to_have_count(2)
    page.locator(".heatmap input").click(
        position={"x": 100, "y": 100}
    )  # fast 25, slow 30: the upper left corner
    expect(page).to_have_url(re.compile(r"/result/[0-9a-f-]{36}$"))
    expect(page.locator("h1")).to_contain_text("MA_CROSS_25_30")


def test_the_heatmap_answers_to_mouse_keys_and_sliders(platform: str, browser: Browser) -> None:
    page = open_page(browser, "/sweeps")
    page.select_option("select[name=rule]", "RSI")
    page.fill("input[name='RSI.period']", "5:20:5")
    page.fill("input[name='RSI.oversold']", "20,30")
    page.fill("input[name='RSI.overbought']", "60,70,80")
    search(page)
    cells = page.locator("[data-cells][data-ready]")
    expect(cells).to_be_attached()
    reading = page.locator(".reading")
    expect(reading).to_contain_text("(best of all)")
    table = page.request.get(re.sub(r"[?#].*", "", page.url) + "/table.csv").text()
    rows = list(csv.DictReader(io.StringIO(table)))
    canvas = page.locator(".cells canvas")
    page.select_option("[data-choice=x]", "overbought")
    page.select_option("[data-choice=y]", "period")
    slider = page.get_by_role("slider")
    slider.focus()
    slider.press("Home")
    box = canvas.bounding_box()
    assert box is not None
    # The lower left corner: the smallest values of both
    page.mouse.move(box["x"] + 70, box["y"] + box["height"] - 45)
    expect(reading).to_contain_text("period 5, oversold 20, overbought 60: Sharpe ratio")
    wanted = {"period": 5, "oversold": 20, "overbought": 60}
    row = next(each for each in rows if {name: float(each[name]) for name in wanted} == wanted)
    shown = float(reading.inner_text().rpartition(" ")[2])
    assert shown == pytest.approx(float(row["sharpe_ratio"]), rel=1e-4)
    canvas.click(position={"x": 70, "y": box["height"] - 45})
    expect(page.locator(".chosen")).to_contain_text("period 5, oversold 20, overbought 60")
    canvas.press("ArrowRight")
    expect(reading).to_contain_text("overbought 70")
    page.select_option("[data-choice=metric]", "num_trades")
    expect(reading).to_contain_text("Trades")
    page.get_by_role("button", name="Run this combination").click()
    expect(page).to_have_url(re.compile(r"/result/[0-9a-f-]{36}$"))
    expect(page.locator("h1")).to_contain_text("RSI_5_20_60")


@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_the_pages_of_a_search_fit(
    platform: str, browser: Browser, width: int, locale: str
) -> None:
    page = open_page(browser, "/sweeps", viewport={"width": width, "height": 800}, locale=locale)
    assert fits(page)
    search(page)
    assert fits(page)
