"""The real web and controller, and a browser."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from scripts.config import ROOT
from tests.browser.pages import PORT, PROBLEMS, URL
from tests.support.browsers import QUIET


@pytest.fixture(scope="session")
def platform_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SQLite file of `platform`."""
    return tmp_path_factory.mktemp("db") / "browser.sqlite3"


@pytest.fixture(scope="session")
def platform(platform_database: Path) -> Iterator[str]:
    """`make run` without make: the real web and controller on a database of their own."""
    environment = {
        **os.environ,
        "DB_HOST": "",
        "SQLITE_PATH": str(platform_database),
        "BIN": str(Path(sys.executable).parent),
        "PORT": str(PORT),
        "LOG_LEVEL": "WARNING",
    }
    loader = [
        sys.executable,
        "scripts/data_loader.py",
        "import",
        *map(str, sorted((ROOT / "data").glob("*.csv"))),
    ]
    subprocess.run(loader, cwd=ROOT, env=environment, check=True, capture_output=True)
    process = subprocess.Popen(
        ["sh", "scripts/run.sh"], cwd=ROOT, env=environment, start_new_session=True
    )
    for _ in range(100):
        try:
            urllib.request.urlopen(f"{URL}/ready", timeout=1)
            break
        except OSError:
            time.sleep(0.2)
    yield URL
    process.terminate()
    process.wait(20)


# A machine that is slow or has other work is no fault of a page.
expect.set_options(timeout=30_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def no_problems(browser: Browser) -> Iterator[None]:
    """No page logs an error, none leaves the platform, and none works on beside the next test."""
    PROBLEMS.clear()
    yield
    for context in browser.contexts:
        context.close()
    assert PROBLEMS == []
