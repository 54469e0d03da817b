"""The dashboard as a program uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from scripts.config import ROOT
from service.contract.result import BacktestResult
from tests.e2e.waiters import wait_until
from tests.support.requests import REQUEST

FINAL = ("completed", "failed", "cancelled")


def web_at(address: str) -> Web:
    """The web at the port of a node, which opens it some seconds after the Service is there."""
    web = Web(address)

    def is_open() -> bool:
        try:
            web.ask("/health")
        except urllib.error.URLError:
            return False
        return True

    wait_until(is_open, bool, 60, f"{address} is open")
    return web


@dataclass(frozen=True)
class Web:
    """The web at one address, with a token where users log in."""

    url: str
    token: str = ""

    def ask(self, path: str, body: object = None) -> Any:
        """The JSON that the path answers with, also when it refuses."""
        data = None if body is None else json.dumps(body).encode()
        login = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        request = urllib.request.Request(
            self.url + path, data, {"Content-Type": "application/json", **login}
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def send_prices(self, ticker: str, data: bytes) -> dict[str, Any]:
        """What became of a file of prices."""
        address = f"{self.url}/prices/{ticker}"
        request = urllib.request.Request(address, data, {"Content-Type": "text/csv"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            report: dict[str, Any] = json.load(answer)
            return report

    def page(self, path: str) -> str:
        """The page as a browser gets it."""
        request = urllib.request.Request(self.url + path, headers={"Accept": "text/html"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    def submit(self, **changes: object) -> str:
        """Submits the standard request with some changes, computed anew; returns the run_id."""
        return str(self.ask("/backtest?force=true", {**REQUEST, **changes})["run_id"])

    def status(self, run_id: str) -> dict[str, Any]:
        status: dict[str, Any] = self.ask(f"/status/{run_id}")
        return status

    def wait(self, run_id: str, *statuses: str, seconds: float = 90) -> dict[str, Any]:
        """The status document once it is one of the statuses (any final one when none is named)."""
        wanted = statuses or FINAL
        what = f"run {run_id} is {' or '.join(wanted)}"
        return wait_until(
            lambda: self.status(run_id), lambda status: status["status"] in wanted, seconds, what
        )

    def result(self, run_id: str) -> dict[str, Any]:
        result: dict[str, Any] = self.ask(f"/result/{run_id}")
        return result

    def completed(self, **changes: object) -> dict[str, Any]:
        """The result of a new run, which must complete."""
        run_id = self.submit(**changes)
        status = self.wait(run_id)
        result = self.result(run_id)
        assert status["status"] == "completed", (status, result["error_message"])
        return result

    def failed(self, **changes: object) -> tuple[str, str]:
        """Reason and sentence of a new run, which must fail."""
        run_id = self.submit(**changes)
        status = self.wait(run_id, seconds=180)
        assert status["status"] == "failed", status
        return status["reason"], self.result(run_id)["error_message"]


def reproducible(result: dict[str, Any]) -> str:
    """The text of a result that must be the same wherever the request is performed."""
    return BacktestResult(**result).reproducible()


def performed_here(**changes: object) -> dict[str, Any]:
    """The result of the same request from worker.py on this machine, without a database."""
    request = {name.upper(): str(value) for name, value in {**REQUEST, **changes}.items()}
    here = {"DB_HOST": "", "SQLITE_PATH": "", "PRICES_DIR": str(ROOT / "data")}
    words = [sys.executable, "worker.py"]
    environment = {**os.environ, **here, **request}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result
