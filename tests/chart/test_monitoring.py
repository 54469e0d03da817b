"""Alerts and the README speak of metrics that exist."""

from __future__ import annotations

import re

import pytest
from flask import Flask
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

import service.controller.vitals  # registers the controller's metrics
import service.launchers.kubernetes.api  # noqa: F401  and those of its calls
from service.contract.status import Reason
from service.store.room import RoomStore
from service.store.tables import metadata
from service.usecases.troubles import Troubles
from service.web.middleware import metrics
from tests.chart.rendering import CHART, EXTERNAL, SECRET, laid_over, object_of, objects, worker_job
from tests.support.stores import EveryStore

RULE = {"prometheusRule": {"enabled": True}}


def of_controller() -> set[str]:
    return {
        family.name for family in REGISTRY.collect() if family.name.startswith("stock_backtest_")
    }


def of_web() -> set[str]:
    app = Flask(__name__)
    engine = create_engine("sqlite://", poolclass=StaticPool)
    metadata.create_all(engine)
    store = EveryStore(engine)
    metrics.install(app, store, Troubles(store, room_store=RoomStore(engine)))
    client = app.test_client()
    client.get("/metrics")
    names = {family.name for family in text_string_to_metric_families(client.get("/metrics").text)}
    return {name for name in names if not name.endswith("_created")}


def alerts(**values: object) -> dict[str, str]:
    rule = object_of(objects(laid_over(SECRET, {**RULE, **values})), "PrometheusRule")
    return {
        alert["alert"]: alert["expr"]
        for group in rule["spec"]["groups"]
        for alert in group["rules"]
    }


def test_the_readme_has_every_metric() -> None:
    section = (CHART / "README.md").read_text().partition("## Monitoring")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`stock_backtest.*?) \| (web|controller): ", section, re.MULTILINE)
    listed = {
        part: {
            name.removesuffix("_total")
            for row, of in rows
            if of == part
            for name in re.findall(r"`(\w+)", row)
        }
        for part in ("web", "controller")
    }
    assert listed == {"web": of_web(), "controller": of_controller()}


def test_alerts_ask_for_metrics_that_exist() -> None:
    asked_for = {
        name for expr in alerts().values() for name in re.findall(r"stock_backtest_\w+", expr)
    }
    assert len(asked_for) >= 4
    assert {name.removesuffix("_total") for name in asked_for} <= of_web() | of_controller()
    assert "stock_backtest_queue_age_seconds" in asked_for


def test_alerts_with_a_database_outside() -> None:
    with_own = set(alerts())
    rule = object_of(objects(laid_over(EXTERNAL, RULE)), "PrometheusRule")
    names = {alert["alert"] for group in rule["spec"]["groups"] for alert in group["rules"]}
    assert with_own - names == {"StockBacktestVolumeNearlyFull"}


def test_the_readme_has_every_alert() -> None:
    text = (CHART / "README.md").read_text()
    assert set(re.findall(r"`(StockBacktest\w+)`", text)) == set(alerts())


@pytest.mark.parametrize("worker", [{}, {"timeoutSeconds": 7200, "backoffLimit": 0}])
def test_the_queue_stands_when_no_job_can_be_in_its_way(worker: dict[str, int]) -> None:
    deadline = worker_job(objects(laid_over(SECRET, {"worker": worker})))["spec"][
        "activeDeadlineSeconds"
    ]
    expr = alerts(worker=worker)["StockBacktestQueueStands"]
    assert f"> {deadline}" in expr
    assert f"[{deadline}s]" in expr


def test_alerts_leave_out_reasons_that_nobody_can_mend() -> None:
    (names,) = set(re.findall(r'reason!~"([\w|]+)"', alerts()["StockBacktestRunsFail"]))
    assert set(names.split("|")) == {Reason.BAD_INPUT, Reason.NO_DATA}
    assert set(names.split("|")) < set(Reason)


def test_alerts_look_at_their_own_namespace() -> None:
    for expr in alerts().values():
        selectors = re.findall(r"(?:stock_backtest|kubelet)_\w+(\{.*?\})?", expr)
        assert selectors
        assert all('namespace="stocks"' in selector for selector in selectors)
