"""The comparison of runs: its numbers, and what cannot be compared."""

from __future__ import annotations

import csv
import io
import re
import uuid

import pytest
from flask.testing import FlaskClient

from service.usecases.runs import Runs
from service.web.pages.compare import best_of
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, completed, page, refused, swept


def address(*run_ids: str, path: str = "/compare") -> str:
    return path + "?" + "&".join(f"run={run_id}" for run_id in run_ids)


def test_two_runs_side_by_side(client: FlaskClient, runs: Runs) -> None:
    one = completed(client, runs)
    other = completed(client, runs, rule_id="RSI", params={}, commission_rate=0.002)
    text = page(client, address(one, other))
    assert "Each run counts from 100 on" in text
    asked = text[text.index("What was asked differently") : text.index("<h2>Metrics")]
    assert re.findall(r'<th scope="row">([^<]+)', asked) == ["Rule", "Commission"]
    assert "0.1 %" in asked
    assert "0.2 %" in asked
    assert "Correlation of the daily returns" in text
    document = client.get(address(one, other)).json
    assert document is not None
    returns = [document["metrics"][run_id]["total_return_pct"] for run_id in (one, other)]
    best = max(returns)
    assert re.search(rf'class="number best">{best:,.2f} %<span class="unseen"> \(best\)', text)
    assert [row[i] for i, row in enumerate(document["correlation"])] == [1.0, 1.0]
    assert document["differences"]["commission_rate"] == [0.001, 0.002]


def test_the_table_has_a_line_for_each_day(client: FlaskClient, runs: Runs) -> None:
    one = completed(client, runs)
    other = completed(client, runs, rule_id="RSI", params={}, start_date="2015-01-02")
    table = client.get(address(one, other, path="/compare.csv"))
    heading, first, *rest = list(csv.reader(io.StringIO(table.text)))
    assert heading == ["date", f"GOOG MA_CROSS_10_30 {one[:8]}", f"GOOG RSI_14_30_70 {other[:8]}"]
    assert first == ["2015-01-02", "100.000000", "100.000000"]
    equity = list(csv.DictReader(io.StringIO(client.get(f"/result/{one}/equity.csv").text)))
    by_day = {line["date"]: float(line["equity"]) for line in equity}
    for day, value, _ in rest[::100]:
        assert float(value) == pytest.approx(100 * by_day[day] / by_day["2015-01-02"], abs=1e-6)
    assert len(rest) == len([day for day in by_day if day > "2015-01-02"])


def test_a_run_that_waits_or_failed_has_no_curve(client: FlaskClient, runs: Runs) -> None:
    done = completed(client, runs)
    waiting = client.post("/backtest", json={**REQUEST, "initial_capital": 7}).json["run_id"]  # type: ignore[index]
    text = page(client, address(waiting, done))
    drawing = text[text.index('<div class="still">') : text.index("</section>")]
    assert re.findall(r'class="curve (curve-\d)', drawing) == ["curve-1"]
    assert "pending" in text


def test_runs_that_share_no_days_are_told_so(client: FlaskClient, runs: Runs) -> None:
    one = completed(client, runs, end_date="2014-02-07")
    other = completed(client, runs, start_date="2015-01-02")
    text = page(client, address(one, other))
    assert "These runs have no two days in common" in text
    assert client.get(address(one, other)).json["first_day"] is None  # type: ignore[index]
    assert client.get(address(one, other, path="/compare.csv")).text == "date\n"


def test_what_cannot_be_compared(client: FlaskClient, runs: Runs) -> None:
    one = completed(client, runs)
    for run_ids, count in (((), 0), ((one,), 1), ((one, one), 1)):
        sentence = f"Choose 2 to 20 runs to compare; got {count}."
        refused(client.get(address(*run_ids)), 400, "BadInput", sentence)
    many = [str(uuid.uuid4()) for _ in range(21)]
    refused(client.get(address(*many)), 400, "BadInput", "compare; got 21.")
    refused(client.get(address(one, "<i>")), 404, "NotFound", "There is no run <i>.")
    search = swept(client, runs)
    refused(client.get(address(one, search)), 400, "BadInput", "is no backtest")
    assert "&lt;i&gt;" in client.get(address(one, "<i>"), headers=BROWSER).text


def test_the_switch_of_languages_keeps_every_run(client: FlaskClient, runs: Runs) -> None:
    one, other = completed(client, runs), completed(client, runs, initial_capital=5)
    text = page(client, address(one, other))
    assert f"/compare?run={one}&run={other}&lang=ko" in text
    korean = page(client, address(one, other), **{"Accept-Language": "ko"})
    assert "일별 수익률의 상관관계" in korean


def test_the_best_is_only_marked_where_there_is_one() -> None:
    assert best_of([1.0, 3.0, 3.0, None], is_less_better=False) == {1, 2}
    assert best_of([1.0, 3.0], is_less_better=True) == {0}
    assert best_of([2.0, 2.0], is_less_better=False) == set()
    assert best_of([2.0, None], is_less_better=False) == set()
