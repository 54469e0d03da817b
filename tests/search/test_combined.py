"""A search of a combination of rules: each row is the single run of that combination."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pandas as pd
import pytest
from flask.testing import FlaskClient

from rules.base_rule import CompositeRule
from rules.registry import rule_from_id
from service.search.combined import CombinedRule, as_asked, combined
from service.usecases.runs import Runs
from tests.support.prices import prices
from tests.support.web import BROWSER, completed, page, swept

RULE = "ALL(MA_CROSS_10_30,RSI)"
GRID: dict[str, Any] = {"fast_1": [5, 10], "slow_1": "30,60", "period_2": [7, 14]}
DATES = {"start_date": "2013-01-02", "end_date": "2020-02-07"}


def composite(rule_id: str) -> CompositeRule:
    rule = rule_from_id(rule_id)
    assert isinstance(rule, CompositeRule)
    return rule


def test_it_has_the_parameters_of_its_rules_and_is_the_combination() -> None:
    rule = combined(composite("ANY(MA_CROSS_5_60,RSI_7_20_80,MA_CROSS)"))
    assert isinstance(rule, CombinedRule)
    assert dict(rule.params) == {
        "fast_1": 5,
        "slow_1": 60,
        "period_2": 7,
        "oversold_2": 20.0,
        "overbought_2": 80.0,
        "fast_3": 10,
        "slow_3": 30,
    }
    assert rule.rule_id == "ANY(MA_CROSS_5_60,RSI_7_20_80,MA_CROSS_10_30)"
    assert rule.metadata.name == "ANY(MA_CROSS,RSI,MA_CROSS)"
    assert ("fast_3", "slow_3") in rule.metadata.ascending
    data = prices("GOOG")
    expected = rule.composite.generate_signals(data)
    pd.testing.assert_series_equal(rule.generate_signals(data), expected)
    assert rule.warm_up == rule.composite.warm_up
    assert [line.name for line in rule.lines(data)] == [
        line.name for line in rule.composite.lines(data)
    ]
    assert type(combined(composite("ANY(MA_CROSS,RSI,MA_CROSS)"))) is type(rule)
    assert as_asked(rule) is rule.composite
    assert as_asked(rule.composite.members[0]) is rule.composite.members[0]


def test_every_row_has_the_numbers_of_the_single_run(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs, rule_id=RULE, grid=GRID, folds=3, **DATES)
    result = client.get(f"/sweeps/{run_id}").json
    assert result is not None
    assert result["status"] == "completed", result
    cells = client.get(f"/sweeps/{run_id}/cells.json").json
    assert cells is not None
    params = {each["name"]: each["values"] for each in cells["parameters"]}
    wanted = list(itertools.product([5, 10], [30, 60], [7, 14]))
    found = zip(params["fast_1"], params["slow_1"], params["period_2"], strict=True)
    assert list(found) == wanted
    for row, (fast, slow, period) in enumerate(wanted[:3]):
        rule_id = f"ALL(MA_CROSS_{fast}_{slow},RSI_{period}_30_70)"
        single = completed(client, runs, rule_id=rule_id, params={}, **DATES)
        document = client.get(f"/result/{single}").json
        assert document is not None
        metrics = {**document["metrics"], **document}
        for name in ("total_return_pct", "sharpe_ratio", "num_trades"):
            assert cells["metrics"][name][row] == pytest.approx(metrics[name], rel=1e-5)


def test_a_row_is_run_and_the_form_is_filled_again(client: FlaskClient, runs: Runs) -> None:
    form = {
        "tickers": "GOOG",
        **DATES,
        "rule": "COMPOSITE",
        "mode": "ALL",
        "member1": "MA_CROSS_10_30",
        "member2": "RSI",
        "COMPOSITE.grid": "fast_1=5,10  period_2=7:14:7",
        "metric": "sharpe_ratio",
        "folds": "0",
        "initial_capital": "100000",
    }
    answer = client.post("/sweeps", data=form, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    address = answer.headers["Location"]
    run_id = address.rpartition("/")[2]
    document = json.loads(runs.run(run_id).request)
    assert document["grid"] == {"fast_1": "5,10", "period_2": "7:14:7"}
    assert runs.run(run_id).rule_id == "ALL(MA_CROSS,RSI)"
    again = page(client, f"/sweeps?sweep={run_id}")
    assert 'value="fast_1=5,10 period_2=7:14:7"' in again
    assert 'name="member1" list="rule-ids" value="MA_CROSS_10_30"' in again
    done = swept(client, runs, rule_id=RULE, grid=GRID, **DATES)
    chosen = client.post(f"/sweeps/{done}/run", data={"row": "5"}, headers=BROWSER)
    assert chosen.status_code == 303
    single = runs.run(chosen.headers["Location"].rpartition("/")[2])
    assert single.rule_id == "ALL(MA_CROSS_10_30,RSI_14_30_70)"
    assert "ALL(MA_CROSS_" in page(client, f"/sweeps/{done}")


@pytest.mark.parametrize(
    ("grid", "sentence"),
    [
        ({"fast": "5"}, 'has no parameter "fast". Did you mean fast_1?'),
        ({"period_2": "0"}, "ALL(MA_CROSS,RSI): period_2 must be between"),
        ({"fast_1": "40", "slow_1": "30"}, "fast_1 must be below slow_1"),
    ],
)
def test_wrong_parameters_are_named(
    client: FlaskClient, grid: dict[str, str], sentence: str
) -> None:
    body = {"tickers": ["GOOG"], "rule_id": RULE, "grid": grid, **DATES}
    answer = client.post("/sweeps", json=body)
    assert answer.status_code == 400
    assert sentence in answer.json["error"]  # type: ignore[index]
