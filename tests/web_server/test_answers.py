"""What several processes say together: their metrics, and their log."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections import Counter
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.requests import REQUEST
from tests.web_server.served import Web, body_of

REQUESTS = "stock_backtest_http_request_seconds"


def families(web: Web) -> dict[str, Metric]:
    """The metrics by name."""
    text = body_of(web.get("/metrics")).decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def counts_of_requests(web: Web) -> dict[tuple[tuple[str, str], ...], float]:
    """How many requests were answered, by the labels."""
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for sample in families(web)[REQUESTS].samples
        if sample.name.endswith("_count")
    }


def metrics_folder(web: Web) -> Path:
    """It is made by gunicorn's configuration, so it is looked for among the open files."""
    links = [os.readlink(path) for path in Path(f"/proc/{web.workers()[0]}/fd").iterdir()]
    return next(Path(link).parent for link in links if "/histogram_" in link)


def counting_processes(web: Web) -> set[str]:
    """The ids of the processes that have counted something."""
    names = [path.stem for path in metrics_folder(web).glob("*.db")]
    return {name.rpartition("_")[2] for name in names}


def test_counts_of_all_processes_add_up(web: Web) -> None:
    before = counts_of_requests(web)
    for _ in range(200):
        web.get("/rules")
    after = counts_of_requests(web)
    key = (("method", "GET"), ("route", "/rules"), ("status", "200"))
    assert after[key] - before.get(key, 0) == 200
    series = Counter(
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in families(web).values()
        for sample in family.samples
    )
    assert max(series.values()) == 1, "a series stands there once"
    assert not any("pid" in dict(labels) for _, labels in series)
    assert "stock_backtest_runs" in families(web)
    web.wait_for(lambda: web.get("/rules") != b"" and len(counting_processes(web)) == 2)


def test_every_line_is_json_and_carries_the_run(web: Web) -> None:
    run_id = str(uuid.uuid4())
    assert json.loads(web.post({**REQUEST, "run_id": run_id}))["run_id"] == run_id
    given = json.loads(web.post({**REQUEST, "initial_capital": 4711}))["run_id"]
    web.get(f"/status/{run_id}")
    web.get("/health")
    web.wait_for(lambda: f"GET /status/{run_id}" in web.log.read_text())
    lines = [json.loads(line) for line in web.log.read_text().splitlines()]
    fields = {"time", "level", "logger", "run_id", "message"}
    assert all(set(line) - {"trace"} == fields for line in lines)
    moment = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert all(re.fullmatch(moment, line["time"]) for line in lines)
    access = [line for line in lines if line["logger"] == "gunicorn.access"]
    by_request = {(line["message"].split()[0], line["run_id"]) for line in access}
    assert {("GET", run_id), ("POST", run_id), ("POST", given)} <= by_request
    messages = " ".join(line["message"] for line in access)
    assert not any(probe in messages for probe in ("/health", "/ready", "/metrics"))
    loggers = {line["logger"] for line in lines}
    assert {"gunicorn.error", "gunicorn.access", "service.web.forms.submission"} <= loggers
