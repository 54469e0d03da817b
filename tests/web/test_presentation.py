"""How pages show numbers: rates in percent, losses positive, verdicts of old searches."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from service.store.tables import results
from service.usecases.runs import Runs
from service.web.presentation import METRICS_BY_NAME, shown_metric
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, page, swept


def test_rates_are_in_percent_and_losses_positive() -> None:
    metrics = {
        "alpha": 0.0424,
        "value_at_risk_pct": -1.484,
        "expected_shortfall_pct": -2.5,
        "benchmark_return_pct": 12.0,
        "beta": 0.5,
    }
    values = {**metrics, "max_drawdown_pct": 19.31}
    texts = {name: shown_metric(name, value) for name, value in values.items()}
    assert texts["alpha"] == "4.24 %"
    assert texts["value_at_risk_pct"] == "1.48 %"
    assert texts["expected_shortfall_pct"] == "2.50 %"
    assert texts["max_drawdown_pct"] == "19.31 %"
    assert texts["benchmark_return_pct"] == "12.00 %"
    assert texts["beta"] == "0.500"


@pytest.mark.parametrize("name", ["alpha", "value_at_risk_pct", "beta"])
def test_nothing_and_zero(name: str) -> None:
    unit = METRICS_BY_NAME[name].unit
    assert shown_metric(name, None) == "–"
    assert shown_metric(name, 0.0) == ("0.00 %" if unit == "%" else "0.000")


def test_a_search_of_an_earlier_release_is_shown_without_its_verdict(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    """0.2.0 stored no probability of timing, and took a rising price for skill."""
    run_id = swept(client, runs)
    query = select(results.c.result).where(results.c.run_id == run_id)
    with engine.begin() as connection:
        document = json.loads(connection.execute(query).scalar_one())
        for of_ticker in document["tickers"]:
            del of_ticker["statistics"]["timing_probability"]
            del of_ticker["untraded"], of_ticker["tries"]
        change = update(results).where(results.c.run_id == run_id)
        connection.execute(change.values(result=json.dumps(document)))
    shown = page(client, f"/sweeps/{run_id}")
    assert "An earlier release judged this search, and took a rising price for skill" in shown
    assert "Timing beyond luck" not in shown
    answer = client.get(f"/sweeps/{run_id}").json
    assert answer is not None
    assert answer["status"] == "completed"


def test_the_form_asks_for_a_benchmark_and_a_rate(client: FlaskClient, runs: Runs) -> None:
    fields = {**REQUEST, "rule": "MA_CROSS", "benchmark": " spy ", "risk_free_rate": "0.03"}
    del fields["rule_id"]
    answer = client.post("/backtest", data=fields, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    (run,) = runs.run_store.latest(1)
    asked = json.loads(run.request)
    assert (asked["benchmark"], asked["risk_free_rate"]) == ("SPY", 0.03)
    form = page(client, f"/?run={run.run_id}")
    assert 'name="benchmark" value="SPY"' in form
    assert 'name="risk_free_rate"' in form
    assert 'value="0.03"' in form
