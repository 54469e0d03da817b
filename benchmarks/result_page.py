"""Times the page of a result in headless Chromium: `python -m benchmarks.result_page URL`.

URL is a platform that `make run` started, with the sample prices. For runs of 2,700, 100,000 and
1,000,000 bars (made up, imported by hand: see docs/user-guide.md) give the addresses of their pages
after it; the page of a search counts as ready with its heatmap. First it presses Run twenty times
and waits for the answer on the screen.
"""

from __future__ import annotations

import statistics
import sys
import time

from playwright.sync_api import Browser, Page, sync_playwright

CLICKS = 20
LOADS = 5
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FIRST_SCREEN = {"width": 1280, "height": 900}
# When the first screen was painted, and when the chart answered, in ms from the click on the link.
MOMENTS = """() => ({
  painted: performance.getEntriesByName("first-contentful-paint")[0]?.startTime,
  ready: (performance.getEntriesByName("chart-ready")[0]
    ?? performance.getEntriesByName("cells-ready")[0])?.startTime,
  type: performance.getEntriesByType("navigation")[0].type,
})"""
PAINTED = "performance.getEntriesByName('first-contentful-paint').length > 0"
WEIGHTS = """() => [
  ...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")
].map((entry) => [new URL(entry.name).pathname.split("/").pop(), entry.encodedBodySize])"""


def click(browser: Browser, url: str, number: int) -> float:
    """Seconds from the click on Run to the first paint of the answer, by the browser's clock."""
    page = browser.new_context(viewport=FIRST_SCREEN).new_page()
    page.goto(url, wait_until="networkidle")
    page.fill("input[name=initial_capital]", str(100_000 + number + time.time_ns() % 1000))
    page.fill("input[name=end_date]", "2020-02-07")
    start = time.perf_counter()
    page.get_by_role("button", name="Run", exact=True).click()
    page.locator(".tiles").wait_for()
    page.wait_for_function(PAINTED)
    seconds = time.perf_counter() - start
    moments = page.evaluate(MOMENTS)
    page.context.close()
    # A page that was loaded again has a clock that began with that.
    return seconds if moments["type"] == "reload" else moments["painted"] / 1000


def load(browser: Browser, address: str) -> tuple[float, float, dict[str, int]]:
    """Milliseconds to the first paint and to the chart, and bytes by file."""
    page: Page = browser.new_context(viewport=FIRST_SCREEN).new_page()
    page.goto(address)
    page.locator("[data-ready]").wait_for(state="attached")
    moments = page.evaluate(MOMENTS)
    weights = {name: size for name, size in page.evaluate(WEIGHTS) if size}
    page.context.close()
    return moments["painted"], moments["ready"], weights


def main(url: str, addresses: list[str]) -> None:
    """Prints medians."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        seconds = [click(browser, url, number) for number in range(CLICKS)]
        median, longest = statistics.median(seconds), max(seconds)
        print(f"click to result: median {median:.2f} s, longest {longest:.2f} s of {CLICKS}")
        for address in addresses:
            loads = [load(browser, address) for _ in range(LOADS)]
            painted = statistics.median(load[0] for load in loads)
            ready = statistics.median(load[1] for load in loads)
            weights = ", ".join(f"{name} {size}" for name, size in loads[0][2].items())
            print(f"{address}: painted {painted:.0f} ms, chart {ready:.0f} ms; {weights}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
