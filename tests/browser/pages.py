"""Opens pages of the platform in a browser, and watches what they do."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, ConsoleMessage, Page, expect

PORT = 5071
URL = f"http://127.0.0.1:{PORT}"
# What went wrong on any page since the test began
PROBLEMS: list[str] = []


def open_page(browser: Browser, address: str = "/", **options: object) -> Page:
    """A page that is watched."""
    page = browser.new_context(**{"locale": "en-US", **options}).new_page()
    page.on("pageerror", lambda error: PROBLEMS.append(str(error)))
    page.on("console", lambda message: PROBLEMS.append(message.text) if is_error(message) else None)
    page.on(
        "request", lambda request: PROBLEMS.append(request.url) if is_foreign(request.url) else None
    )
    page.goto(URL + address)
    return page


def is_error(message: ConsoleMessage) -> bool:
    return message.type == "error" and "responded with a status of 40" not in message.text


def is_foreign(url: str) -> bool:
    return not url.startswith((URL, "data:"))


def run_it(page: Page) -> None:
    page.get_by_role("button", name=re.compile("^(Run|실행)$")).click()
    expect(page).to_have_url(re.compile(r"/result/[0-9a-f-]{36}$"))
    expect(page.locator(".tiles")).to_be_visible(timeout=30_000)
    page.wait_for_load_state()  # visible is not drawn with the style sheet yet


def fits(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"))
