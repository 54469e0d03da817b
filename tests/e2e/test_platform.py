"""One release from `helm install` to `helm upgrade`: it answers, scales and changes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.cluster import Namespace, Release
from tests.e2e.conftest import TINY
from tests.e2e.pods import POLL, python_pod
from tests.e2e.waiters import deployment_ready, job_ended, wait_until
from tests.e2e.web import performed_here, reproducible
from tests.support.prices import prices

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def installed(namespace: Namespace) -> tuple[Release, str]:
    release = Release("bt", namespace, TINY)
    return release, release.install()


@pytest.fixture(scope="module")
def release(installed: tuple[Release, str]) -> Release:
    return installed[0]


def test_it_installs_without_a_warning(installed: tuple[Release, str]) -> None:
    release, notes = installed
    assert "arning" not in notes
    events = [
        event["message"]
        for event in release.namespace.objects("events")
        if event["reason"] == "FailedCreate"
    ]
    assert events == []


def test_helm_test_performs_a_backtest(release: Release) -> None:
    output, _ = release.helm("test", release.name, "--logs")
    assert "completed with the numbers of the release" in output


def test_prices_from_a_file_are_stored_and_backtested(release: Release) -> None:
    data = prices("GOOG", 900).iloc[::-1].to_csv(sep=";", decimal=",").encode()
    with release.web() as web:
        report = web.send_prices("OWN", data)
        assert (report["stored"], report["bars"], len(report["notes"])) == (True, 900, 3)
        assert "OWN" in web.page("/prices")
        result = web.completed(ticker="OWN", end_date="2016-06-01")
    assert result["provenance"]["prices_fingerprint"] == report["prices_fingerprint"]


def test_a_starred_run_goes_on_with_newer_prices(release: Release) -> None:
    """By a job of its own, with the numbers of a run that is asked for then."""
    with release.web() as web:
        web.send_prices("LATER", prices("GOOG", 900).to_csv().encode())
        asked = {"ticker": "LATER", "end_date": "2030-01-01"}
        run_id = web.submit(**asked)
        assert web.wait(run_id)["status"] == "completed"
        web.ask(f"/runs/{run_id}/marks", {"star": True})
        web.send_prices("LATER", prices("GOOG", 930).to_csv().encode())

        def record() -> dict[str, Any]:
            records = {each["run_id"]: each["record"] for each in web.ask("/forward")["records"]}
            return records[run_id] or {}

        found = wait_until(record, bool, 120, "the run is extended")
        jobs = web.ask("/runs?q=kind%3Dforward")["runs"]
        fresh = web.completed(**asked)
        before = web.ask(f"/result/{run_id}")
        tries = web.ask(f"/runs/{run_id}/tries")["tries"]
    assert (found["bars"], found["is_same_past"], found["is_same_rule"]) == (30, True, True)
    capital = fresh["provenance"]["initial_capital"]
    for equity, result in (("equity_before", before), ("equity_now", fresh)):
        total = 100 * (found[equity] / capital - 1)
        assert total == pytest.approx(result["total_return_pct"], abs=1e-9)
    assert [job["status"] for job in jobs] == ["completed"]
    name = f"bt-{jobs[0]['run_id']}"
    assert release.namespace.object("job", name)["metadata"]["labels"]
    assert (tries[0]["tries"], tries[0]["number"]) == (1, 1)


def test_a_fetch_is_a_job_that_says_why_no_prices_came(release: Release) -> None:
    """The cluster reaches no vendor: what the user sees of it, and the Job's label."""
    with release.web() as web:
        run_id = web.ask("/fetches", {"ticker": "MSFT"})["run_id"]
        status = web.wait(run_id, seconds=180)
        result = web.ask(f"/fetches/{run_id}")
        page = web.page(f"/fetches/{run_id}")
        before = web.ask("/prices/MSFT")["prices_fingerprint"]
    assert (status["status"], status["reason"]) == ("failed", "VendorFailed")
    assert "Yahoo Finance cannot be reached" in result["error_message"]
    assert "Yahoo Finance cannot be reached" in page
    assert before, "the prices from before are there"
    labels = release.namespace.object("job", f"bt-{run_id}")["metadata"]["labels"]
    assert labels["stock-backtest/kind"] == "prices"


def test_each_run_is_a_job_of_its_own(release: Release) -> None:
    with release.web() as web:
        run_ids = [web.submit(rule_id=f"MA_CROSS_{fast}_30") for fast in (5, 6, 7)]
        assert [web.wait(run_id)["status"] for run_id in run_ids] == ["completed"] * 3
    jobs = [release.namespace.object("job", f"bt-{run_id}") for run_id in run_ids]
    for job in jobs:
        wait_until(
            lambda job=job: release.namespace.object("job", job["metadata"]["name"]),
            job_ended,
            30,
            "it ended",
        )
        assert job["metadata"]["annotations"]["stock-backtest/ticker"] == "GOOG"
    assert all(name.startswith("bt-") for name in release.namespace.names("jobs"))


@pytest.mark.parametrize(
    "rule_id",
    ["MA_CROSS_10_30", "RSI_14_30_70", "MAJORITY(MA_CROSS_10_30,RSI_14_30_70,MACD_12_26_9)"],
)
def test_the_result_has_the_bytes_of_the_worker_on_this_machine(
    release: Release, rule_id: str
) -> None:
    with release.web() as web:
        assert reproducible(web.completed(rule_id=rule_id)) == reproducible(
            performed_here(rule_id=rule_id)
        )


def test_from_the_form_to_the_result_in_a_browser(
    release: Release, start_browser: Callable[..., Browser]
) -> None:
    with release.web() as web:
        page = start_browser().new_page(locale="en-US")
        page.goto(web.url + "/")
        page.fill("input[name=ticker]", "GOOG")
        page.fill("input[name=end_date]", "2020-02-07")
        page.get_by_role("button", name="Run", exact=True).click()
        expect(page).to_have_url(re.compile(r"/result/[0-9a-f-]{36}$"))
        expect(page.locator(".tiles > div").first).to_contain_text("162.95 %", timeout=60_000)
        page.wait_for_load_state()
        expect(page.locator("[data-ready]")).to_be_attached()
        if "E2E_SCREENSHOT" in os.environ:
            page.screenshot(path=os.environ["E2E_SCREENSHOT"], full_page=True)
        page.context.browser.close()


@contextmanager
def asked_all_the_time(release: Release) -> Iterator[None]:
    """A pod asks the Service throughout the body; no request may fail."""
    address = f"http://{release.name_of('service', 'web')}:5000/health"
    pod = release.namespace.start(python_pod("poll", POLL, address))
    yield
    release.namespace.kubectl("exec", pod, "--", "touch", "/tmp/stop")
    seen = wait_until(
        lambda: release.namespace.shown("exec", pod, "--", "cat", "/tmp/seen"),
        lambda text: text.startswith("["),
        20,
        "all answers",
    )
    requests, failures = json.loads(seen)
    release.namespace.kubectl("delete", "pod", pod, "--now")
    assert not failures, (requests, failures)
    assert requests > 100


def test_the_web_scales_to_three_and_back_without_a_failed_request(release: Release) -> None:
    name = release.name_of("deployment", "web")
    with asked_all_the_time(release):
        for replicas in (3, 2):
            release.namespace.kubectl("scale", f"deployment/{name}", f"--replicas={replicas}")
            wait_until(
                lambda: release.namespace.object("deployment", name),
                deployment_ready,
                120,
                f"{replicas} webs",
            )
            all_pods = partial(release.namespace.objects, "pods", **release.labels("web"))
            wait_until(
                all_pods,
                lambda pods, wanted=replicas: len(pods) == wanted,
                60,
                "the others are gone",
            )
            time.sleep(5)  # each takes its share


def secrets_and_claims(namespace: Namespace) -> set[str]:
    claims = {claim["spec"]["volumeName"] for claim in namespace.objects("pvc")}
    return claims | {
        json.dumps(secret["data"])
        for secret in namespace.objects("secrets")
        if secret["type"] == "Opaque"
    }


def test_an_upgrade_changes_pods_and_keeps_the_data(release: Release) -> None:
    kept = secrets_and_claims(release.namespace)
    with release.web() as web:
        run_id = web.submit()
        web.wait(run_id)
        result = web.result(run_id)
    parts = {part: release.pods(part) for part in ("web", "controller", "mysql")}
    with asked_all_the_time(release):
        newer = release.upgrade(
            config={"logLevel": "DEBUG"}, worker={"ttlSecondsAfterFinished": 900}
        )
    assert set(release.pods("web")).isdisjoint(parts["web"])
    assert set(release.pods("controller")).isdisjoint(parts["controller"])
    assert release.pods("mysql") == parts["mysql"]
    assert secrets_and_claims(release.namespace) == kept
    with newer.web() as web:
        assert web.result(run_id) == result
        again = web.submit()
        web.wait(again)
    assert release.namespace.object("job", f"bt-{again}")["spec"]["ttlSecondsAfterFinished"] == 900

    pods = {part: newer.pods(part) for part in parts}
    newer.upgrade()
    assert {part: newer.pods(part) for part in parts} == pods
