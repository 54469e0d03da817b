"""Sweeps by browser and by curl: the form, the page, its table, the run of a cell, refusals."""

from __future__ import annotations

import base64
import io
import re
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from matplotlib.image import imread
from sqlalchemy import Engine, text

from service.contract.documents import checker
from service.contract.sweep_result import SweepResult
from service.search.figure import panels_of
from service.search.plan import SweepPlan
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps, asked_of
from service.web.forms.sweep import suggested_grid
from service.web.forms.sweep_table import ROWS_ON_A_PAGE, row_at
from service.web.sweep_page import checks_of
from service.worker.software import Software
from service.worker.sweep import SweepWorker
from tests.support.prices import series
from tests.support.requests import RUN_ID, SWEEP
from tests.support.web import BROWSER, page, swept

FORM = {
    "tickers": "goog, SPY",
    "start_date": "2015-01-02",
    "end_date": "2018-12-31",
    "rule": "MA_CROSS",
    "MA_CROSS.fast": "5:25:5",
    "MA_CROSS.slow": "10,30,60",
    "RSI.period": "x",
    "metric": "sharpe_ratio",
    "folds": "0",
    "initial_capital": "100000",
    "commission_rate": "0.001",
    "slippage_rate": "0",
    "lot_size": "0",
}


def test_a_sweep_is_submitted_and_read_as_json(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs)
    answer = client.get(f"/sweeps/{run_id}")
    assert answer.json is not None
    assert checker("sweep_result.v1")(answer.json) is None
    assert answer.json["combinations"] == 11
    assert (
        client.get(
            f"/sweeps/{run_id}", headers={"If-None-Match": answer.headers["ETag"]}
        ).status_code
        == 304
    )
    rows = pd.read_csv(io.StringIO(client.get(f"/sweeps/{run_id}/table.csv").text))
    assert len(rows) == 11
    assert client.get(f"/status/{run_id}").json["status"] == "completed"  # type: ignore[index]
    (listed,) = client.get("/sweeps").json["runs"]  # type: ignore[index]
    assert (listed["run_id"], listed["kind"]) == (run_id, "sweep")
    assert client.get("/runs").json["runs"][0]["kind"] == "sweep"  # type: ignore[index]


def test_an_unfinished_sweep_has_a_status_and_no_table(client: FlaskClient) -> None:
    run_id = client.post("/sweeps", json=SWEEP).json["run_id"]  # type: ignore[index]
    answer = client.get(f"/sweeps/{run_id}")
    assert (answer.status_code, answer.json["status"]) == (202, "pending")  # type: ignore[index]
    assert "Waiting; runs before this one: 0." in page(client, f"/sweeps/{run_id}")
    assert client.get(f"/sweeps/{run_id}/table.csv").status_code == 404
    assert client.post(f"/sweeps/{run_id}/run", data={"row": "0"}).status_code == 404
    assert client.post(f"/runs/{run_id}/cancel").status_code == 202
    assert "cancelled" in page(client, f"/sweeps/{run_id}")
    assert client.get(f"/sweeps/{run_id}").json["error_code"] == "CancelledByUser"


def test_the_form_asks_for_a_sweep_and_is_filled_from_it(client: FlaskClient, runs: Runs) -> None:
    answer = client.post("/sweeps", data=FORM, headers=BROWSER)
    assert answer.status_code == 303
    run_id = answer.headers["Location"].rpartition("/")[2]
    run = Sweeps(runs).sweep(run_id)
    assert '"tickers":["GOOG","SPY"]' in run.request
    assert '"grid":{"fast":"5:25:5","slow":"10,30,60"}' in run.request
    again = page(client, f"/sweeps?sweep={run_id}")
    assert 'name="MA_CROSS.fast" value="5:25:5"' in again
    assert 'name="tickers" value="GOOG, SPY"' in again
    assert page(client, f"/sweeps?sweep={RUN_ID}", 404)


def test_what_was_not_searched_comes_back_as_it_was(client: FlaskClient, runs: Runs) -> None:
    """Not as the empty form suggests it: that would be another search."""
    run_id = swept(client, runs, rule_id="MA_CROSS_10_60", grid={"fast": "5:25:5"})
    assert 'name="MA_CROSS.slow" value="60"' in page(client, f"/sweeps?sweep={run_id}")
    assert "<code>slow=60</code>" in page(client, f"/sweeps/{run_id}")


def test_a_form_that_is_wrong_comes_back_as_it_was_typed(client: FlaskClient) -> None:
    answer = client.post("/sweeps", data={**FORM, "MA_CROSS.fast": "5:50:0"}, headers=BROWSER)
    assert answer.status_code == 400
    assert "fast: a step of 0 never leads from 5 to 50." in answer.text
    assert 'value="5:50:0"' in answer.text
    assert client.post("/sweeps", data={**FORM, "folds": "some"}).status_code == 400
    assert (
        client.post("/sweeps", data={"rule_id": "MA_CROSS", "grid": '{"fast":[5]}'}).status_code
        == 400
    )


def test_a_program_may_send_the_fields_of_the_request_as_a_form(client: FlaskClient) -> None:
    fields = {**SWEEP, "tickers": '["GOOG"]', "grid": '{"fast":[5,10]}', "folds": "3"}
    assert client.post("/sweeps", data=fields).status_code == 303


def test_the_page_shows_every_part_of_the_result(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs, tickers=["GOOG", "SPY"], folds=3, reality_check=True)
    shown = page(client, f"/sweeps/{run_id}")
    for text_of_part in (
        "GOOG, SPY",
        "Deflated Sharpe ratio",
        "Walk forward",
        "Cross-validation",
        "Reality check",
        "11 rows",
    ):
        assert text_of_part in shown
    assert "Over all tickers" in shown
    assert "모든 조합" in page(client, f"/sweeps/{run_id}?lang=ko")


def test_the_page_says_whose_prices_have_changed_since(client: FlaskClient, runs: Runs) -> None:
    """The run of a cell has other numbers than the cell then."""
    run_id = swept(client, runs, tickers=["GOOG", "SPY"])
    sentence = (
        "The prices of SPY have changed since this search: "
        "a new run uses today's prices and gives other numbers."
    )
    assert sentence not in page(client, f"/sweeps/{run_id}")
    older = series("SPY")
    runs.price_store.save(replace(older, data=older.data.iloc[:-1]))
    assert sentence in page(client, f"/sweeps/{run_id}")


def cells(shown: str, column: str) -> list[float]:
    """The texts of one column of the page's table."""
    table = shown[shown.index('id="table"') :]
    head, _, body = table.partition("<thead>")[2].partition("<tbody>")
    names = re.findall(r'<a href="[^"]*" title="(\w+)">', head)
    texts = re.findall(r"<td[^>]*>([^<]*)</td>", body)
    return [
        float(number.removesuffix(" %").replace(",", ""))
        for number in texts[names.index(column) :: len(names)]
    ]


def test_the_table_sorts_and_filters(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs)
    by_default = cells(page(client, f"/sweeps/{run_id}"), "sharpe_ratio")
    assert by_default == sorted(by_default, reverse=True)
    assert len(by_default) == 11
    slow = cells(page(client, f"/sweeps/{run_id}?sort=slow"), "slow")
    assert slow == sorted(slow)
    shown = page(client, f"/sweeps/{run_id}?where=fast>=10+slow=60&sort=-fast")
    assert cells(shown, "fast") == [25, 20, 15, 10]
    assert set(cells(shown, "slow")) == {60}
    assert "4 rows" in shown
    assert "0 rows" in page(client, f"/sweeps/{run_id}?where=fast>99")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("where=fast>>1", "Conditions are written as fast>=10 sharpe_ratio>0.5; got fast>>1."),
        ("where=speed>1", "There is no column speed; there are fast, slow, total_return_pct"),
        ("where=note>1", "There is no column note"),
        ("sort=ticker", "There is no column ticker"),
        ("sort=ticker&page=2", "There is no column ticker"),
        ("where=" + 201 * "a", "Conditions have at most 200 characters, got 201."),
    ],
)
def test_a_filter_that_is_wrong_is_said_above_the_table(
    client: FlaskClient, runs: Runs, query: str, sentence: str
) -> None:
    run_id = swept(client, runs)
    shown = page(client, f"/sweeps/{run_id}?{query}")
    assert sentence in shown
    assert "11 rows, page 1 of 1" in re.sub(r"\s+", " ", shown)
    assert "sort=ticker" not in shown.partition('id="table"')[2]
    assert client.get(f"/sweeps/{run_id}?page=0", headers=BROWSER).status_code == 400


def test_a_long_table_has_pages(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs, grid={"fast": "2:21:1", "slow": "30:35:1"})
    first = page(client, f"/sweeps/{run_id}?sort=fast")
    last = page(client, f"/sweeps/{run_id}?sort=fast&page=2")
    assert (len(cells(first, "fast")), len(cells(last, "fast"))) == (
        ROWS_ON_A_PAGE,
        120 - ROWS_ON_A_PAGE,
    )
    assert max(cells(first, "fast")) <= min(cells(last, "fast"))
    assert 'rel="next"' in first
    assert 'rel="prev"' in last
    assert 'rel="next"' not in last
    assert page(client, f"/sweeps/{run_id}?sort=fast&page=9") == last.replace("page=2", "page=9")


def asked_by(runs: Runs, answer: Any) -> str:
    assert answer.status_code == 303, answer.text
    run_id = answer.headers["Location"].rpartition("/")[2]
    runs.cancel(run_id)  # the queue is short
    return runs.run(run_id).rule_id


def test_a_row_is_run_on_its_own(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs)
    rows = pd.read_csv(io.StringIO(client.get(f"/sweeps/{run_id}/table.csv").text))
    for number in (0, 7):
        answer = client.post(f"/sweeps/{run_id}/run", data={"row": str(number)})
        assert asked_by(runs, answer) == f"MA_CROSS_{rows['fast'][number]}_{rows['slow'][number]}"
    for bad in (
        {"row": "11"},
        {"row": "-1"},
        {"row": "x"},
        {"rows": "1"},
        {"at.x": "5"},
        {"row": "0", "at.x": "5*"},
    ):
        assert client.post(f"/sweeps/{run_id}/run", data=bad).status_code == 400
    assert client.post(f"/sweeps/{run_id}/run", json={"row": 0}).status_code == 400


def test_a_point_of_the_figure_is_run(client: FlaskClient, runs: Runs) -> None:
    """The middle of each cell of each panel: fast upwards, slow to the right."""
    run_id = swept(client, runs, tickers=["GOOG", "SPY"])
    result: dict[str, Any] = client.get(f"/sweeps/{run_id}").json  # type: ignore[assignment]
    png = base64.b64decode(result["chart_base64"].partition(",")[2])
    width, height = struct.unpack(">II", png[16:24])
    for panel in result["panels"]:
        left, top, right, bottom = panel["box"]
        assert 0 < left < right < width
        assert 0 < top < bottom < height
        for i, fast in enumerate(panel["ys"]):
            for j, slow in enumerate(panel["xs"]):
                x = int(left + (j + 0.5) / len(panel["xs"]) * (right - left))
                y = int(bottom - (i + 0.5) / len(panel["ys"]) * (bottom - top))
                answer = client.post(f"/sweeps/{run_id}/run", data={"at.x": str(x), "at.y": str(y)})
                if fast >= slow:
                    assert answer.status_code == 400
                else:
                    assert asked_by(runs, answer) == f"MA_CROSS_{fast}_{slow}"
    outside = client.post(f"/sweeps/{run_id}/run", data={"at.x": "1", "at.y": "1"})
    assert outside.json["error"] == "There is no combination at that point of the figure."


@pytest.mark.parametrize("metric", ["sharpe_ratio", "max_drawdown_pct"])
def test_the_ring_of_the_figure_is_around_the_best(
    client: FlaskClient, runs: Runs, metric: str
) -> None:
    result: Any = client.get(f"/sweeps/{swept(client, runs, metric=metric)}").json
    pixels = imread(io.BytesIO(base64.b64decode(result["chart_base64"].partition(",")[2])))
    red, green, blue = (pixels[..., channel] for channel in range(3))
    ys, xs = np.nonzero((red > 0.8) & (green < 0.25) & (blue < 0.25))
    (panel,) = result["panels"]
    best = result["tickers"][0]["best"]["params"]
    left, top, right, bottom = panel["box"]
    x = left + (panel["xs"].index(best["slow"]) + 0.5) / len(panel["xs"]) * (right - left)
    y = bottom - (panel["ys"].index(best["fast"]) + 0.5) / len(panel["ys"]) * (bottom - top)
    assert (xs.mean(), ys.mean()) == pytest.approx((x, y), abs=1.5)


def test_a_cell_of_several_rows_is_its_best_that_traded() -> None:
    rows = {
        "ticker": "A",
        "x": [1, 1, 2],
        "z": [1, 2, 1],
        "num_trades": [0, 3, 0],
        "max_drawdown_pct": [0.0, 9.0, 0.0],
    }
    panel = {
        "ticker": "A",
        "fixed": {},
        "x": "x",
        "xs": [1, 2],
        "y": None,
        "ys": [],
        "box": [0, 0, 10, 10],
    }
    numbers = [row_at(pd.DataFrame(rows), [panel], "max_drawdown_pct", x, 5) for x in (2, 8)]
    assert numbers == [1, 2]


def test_who_never_traded_is_not_shown_as_good(client: FlaskClient, runs: Runs) -> None:
    """No drawdown: last in the table, and without a colour."""
    grid = {"period": [10, 20], "width": [1, 2, 8, 10]}
    run_id = swept(client, runs, rule_id="BB", grid=grid, metric="max_drawdown_pct")
    shown = page(client, f"/sweeps/{run_id}")
    assert [trades == 0 for trades in cells(shown, "num_trades")] == [False] * 4 + [True] * 4
    assert cells(shown, "max_drawdown_pct")[:4] == sorted(cells(shown, "max_drawdown_pct")[:4])
    assert "grey ones never traded" in shown
    request = asked_of(Sweeps(runs).sweep(run_id))
    plan = SweepPlan(request, series)
    search = plan.search("GOOG")
    (panel,) = panels_of({"GOOG": search.table(search.numbers())})
    assert np.isnan(panel.scores()).tolist() == [[False, False, True, True]] * 2


def test_a_figure_without_room_for_all_tickers_says_so(client: FlaskClient, runs: Runs) -> None:
    names = [f"T{number}" for number in range(13)]
    for name in names:
        runs.price_store.save(replace(series("GOOG"), ticker=name))
    change = {"tickers": names, "grid": {"fast": [5, 10]}}
    shown = page(client, f"/sweeps/{swept(client, runs, **change)}")
    assert f"The figure shows only {', '.join(names[:12])}." in shown
    assert "The figure shows only" not in page(client, f"/sweeps/{swept(client, runs)}")


@pytest.mark.parametrize(
    ("rule", "grid", "panels"),
    [
        ("MOMENTUM", {"lookback": "20:60:10"}, [{}]),
        (
            "RSI",
            {"period": [7, 14], "oversold": [20, 30], "overbought": [70, 80]},
            [{"overbought": 70}, {"overbought": 80}],
        ),
        ("MA_CROSS", {"fast": 5}, [{}]),
    ],
)
def test_figures_may_have_one_or_three_parameters(
    client: FlaskClient, runs: Runs, rule: str, grid: dict[str, Any], panels: list[dict[str, int]]
) -> None:
    run_id = swept(client, runs, rule_id=rule, grid=grid)
    result: dict[str, Any] = client.get(f"/sweeps/{run_id}").json  # type: ignore[assignment]
    assert [panel["fixed"] for panel in result["panels"]] == panels
    _, top, right, _ = result["panels"][-1]["box"]
    answer = client.post(
        f"/sweeps/{run_id}/run", data={"at.x": str(int(right) - 2), "at.y": str(int(top) + 2)}
    )
    last = {
        name: values[-1] if isinstance(values, list) else values for name, values in grid.items()
    }
    chosen = asked_by(runs, answer)
    assert chosen == {"MOMENTUM": "MOMENTUM_60", "RSI": f"RSI_14_30_{last.get('overbought')}"}.get(
        rule, "MA_CROSS_5_30"
    )


def test_a_sweep_is_no_backtest(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs)
    answer = client.get(f"/result/{run_id}")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/sweeps/{run_id}")
    for address in (
        f"/result/{run_id}/equity.csv",
        f"/result/{run_id}/trades.csv",
        f"/?run={run_id}",
    ):
        assert client.get(address).status_code == 404
    single = (
        client.post(f"/sweeps/{run_id}/run", data={"row": "0"})
        .headers["Location"]
        .rpartition("/")[2]
    )
    assert client.get(f"/sweeps/{single}").status_code == 404
    assert client.get(f"/sweeps?sweep={single}").status_code == 200, "JSON knows no form"
    assert client.get(f"/sweeps?sweep={single}", headers=BROWSER).status_code == 404


def test_what_the_empty_form_suggests_is_accepted(client: FlaskClient) -> None:
    from rules.registry import BUILT_IN

    for name, rule in BUILT_IN.items():
        grid = suggested_grid(rule.metadata.parameters)
        dates = {"start_date": "2013-01-02", "end_date": "2018-12-31"}
        answer = client.post("/sweeps", json={**SWEEP, **dates, "rule_id": name, "grid": grid})
        assert answer.status_code == 202, (name, grid, answer.text)


def test_a_sweep_that_failed_shows_what_was_seen_of_it(client: FlaskClient, runs: Runs) -> None:
    run_id = client.post("/sweeps", json=SWEEP).json["run_id"]  # type: ignore[index]
    runs.run_store.mark_launched(run_id)
    evidence = '{"exit_code": 1, "log": ["the last line"], "events": []}'
    runs.run_store.fail(runs.run(run_id), "RetriesExhausted", "Again and again.", evidence)
    assert client.get(f"/sweeps/{run_id}").json["provenance"]["evidence"]["exit_code"] == 1
    shown = page(client, f"/sweeps/{run_id}")
    assert "the last line" in shown
    assert "Again and again." in shown


def test_the_page_says_how_many_parts_are_done(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.search.plan.SHARD_ROWS", 4)
    run_id = client.post("/sweeps", json=SWEEP).json["run_id"]  # type: ignore[index]
    runs.run_store.mark_launched(run_id)
    SweepWorker(runs.run_store, runs.price_store, Software()).work(run_id, 1)
    assert "1 of 3 parts" in page(client, f"/sweeps/{run_id}")


def test_a_rule_that_is_gone_cannot_be_run_any_more(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run_id = swept(client, runs)
    with engine.begin() as connection:
        connection.execute(text("UPDATE runs SET rule_id = 'GONE'"))
    answer = client.post(f"/sweeps/{run_id}/run", data={"row": "0"})
    assert answer.status_code == 400
    assert "GONE" in answer.json["error"]  # type: ignore[index]
    assert client.get(f"/sweeps?sweep={run_id}", headers=BROWSER).status_code == 200


def test_the_cells_of_the_heatmap_are_the_rows_of_the_table(
    client: FlaskClient, runs: Runs
) -> None:
    run_id = swept(client, runs, tickers=["GOOG", "SPY"])
    rows = pd.read_csv(io.StringIO(client.get(f"/sweeps/{run_id}/table.csv").text))
    for ticker in ("GOOG", "SPY"):
        answer = client.get(f"/sweeps/{run_id}/cells.json?ticker={ticker}")
        document = answer.json
        assert document is not None
        own = rows[rows["ticker"] == ticker]
        assert document["first_row"] == own.index[0]
        assert [each["name"] for each in document["parameters"]] == ["fast", "slow"]
        for each in document["parameters"]:
            assert each["values"] == own[each["name"]].tolist()
        for name, values in document["metrics"].items():
            np.testing.assert_allclose(
                np.array(values, dtype=float), own[name].to_numpy(dtype=float), rtol=1e-5
            )
        again = client.get(answer.request.path, headers={"If-None-Match": "x"})
        assert again.status_code == 200
    first = client.get(f"/sweeps/{run_id}/cells.json?ticker=NONE").json
    assert first is not None
    assert first["ticker"] == "GOOG"


def test_each_ticker_has_a_tab(client: FlaskClient, runs: Runs) -> None:
    run_id = swept(client, runs, tickers=["GOOG", "SPY"], folds=3)
    for ticker, other in (("GOOG", "SPY"), ("SPY", "GOOG")):
        shown = page(client, f"/sweeps/{run_id}?ticker={ticker}")
        assert re.search(rf'aria-current="page">{ticker}</a>', shown)
        assert f"<h2>{ticker}: <code>" in shown
        assert f"<h2>{other}: <code>" not in shown
        assert f"cells.json?ticker={ticker}" in shown


def test_the_walk_forward_has_a_curve_and_a_row_for_each_part(
    client: FlaskClient, runs: Runs
) -> None:
    run_id = swept(client, runs, folds=3)
    document = client.get(f"/sweeps/{run_id}").json
    assert document is not None
    walk = document["tickers"][0]["walk_forward"]
    days, equity, holding = zip(*walk["curve"], strict=True)
    assert (equity[0], holding[0]) == (100.0, 100.0)
    assert equity[-1] - 100 == pytest.approx(walk["total_return_pct"], abs=1e-3)
    assert list(days) == sorted(days)
    assert (days[0], days[-1]) == (walk["folds"][0]["first_bar"], walk["folds"][-1]["last_bar"])
    for values, name in ((equity, "return_pct"), (holding, "holding_pct")):
        grown = np.prod([1 + fold[name] / 100 for fold in walk["folds"]])
        assert 100 * grown == pytest.approx(values[-1], abs=1e-3)
    shown = page(client, f"/sweeps/{run_id}")
    for fold in walk["folds"]:
        assert fold["first_bar"] in shown
        assert f"{fold['return_pct']:,.2f} %" in shown


SUMMARY = {
    "ticker": "GOOG",
    "tries": 12,
    "buy_and_hold_pct": 50.0,
    "best": {"metrics": {"total_return_pct": 80.0}},
    "neighbours": {"count": 3, "mean": 0.5, "worst": 0.1},
    "statistics": {
        "timing_probability": 0.96,
        "overfitting_probability": 0.4,
        "reality_check_p": 0.04,
        "deflated_sharpe_ratio": 0.99,
        "probabilistic_sharpe_ratio": 0.999,
    },
    "walk_forward": {"total_return_pct": 20.0, "curve": [["2020-01-02", 100.0, 110.0]]},
    "cross_validation": {"in_sample": 1.0, "out_of_sample": 0.4},
}
FOR = ["for", "for", "for", "for", "for", "", "", "", ""]


@pytest.mark.parametrize(
    ("part", "change", "place", "verdict"),
    [
        ("best", {"metrics": {"total_return_pct": 40.0}}, 0, "against"),
        ("statistics", {"timing_probability": 0.94}, 1, "against"),
        ("statistics", {"timing_probability": None}, 1, ""),
        ("statistics", {"overfitting_probability": 0.51}, 2, "against"),
        ("statistics", {"reality_check_p": 0.06}, 3, "against"),
        ("walk_forward", {"total_return_pct": 5.0}, 4, "against"),
        ("walk_forward", {"curve": []}, 4, ""),
        ("cross_validation", {"out_of_sample": -0.1}, 5, "against"),
        ("statistics", {"deflated_sharpe_ratio": 0.1}, 7, ""),
    ],
)
def test_a_check_says_what_speaks_for_the_best_and_what_against_it(
    client: FlaskClient, part: str, change: dict[str, Any], place: int, verdict: str
) -> None:
    with client.application.test_request_context():
        result = SweepResult(RUN_ID, "completed", "sharpe_ratio")
        assert [check.verdict for check in checks_of(result, SUMMARY, None)] == FOR
        changed = {**SUMMARY, part: {**SUMMARY[part], **change}}  # type: ignore[dict-item]
        checks = list(checks_of(result, changed, None))
    assert [check.verdict for check in checks] == [*FOR[:place], verdict, *FOR[place + 1 :]]


def test_the_form_says_what_it_would_compute(client: FlaskClient, runs: Runs) -> None:
    answer = client.post("/estimate?format=json", data=FORM)
    document = answer.json
    assert document is not None
    # 10 is below none of 10 15 20 25, 30 and 60 are above all.
    assert (document["combinations"], document["skipped"], document["tickers"]) == (11, 4, 2)
    sentence = "11 combinations on each of 2 tickers (4 skipped): about 1 second on one core."
    assert document["sentence"] == sentence
    assert sentence in client.post("/estimate", data=FORM, headers=BROWSER).text
    larger = client.post("/estimate", json={**SWEEP, "grid": {"fast": "1:100:1"}}).json
    same = client.post("/estimate", json={**SWEEP, "grid": {"fast": "1:10:1"}}).json
    assert larger is not None
    assert same is not None
    per_row = larger["core_seconds"] / larger["combinations"]
    assert same["core_seconds"] / same["combinations"] == pytest.approx(per_row)
    assert runs.run_store.latest(1) == []


def test_an_estimate_of_what_is_wrong_is_refused_in_the_words_of_the_form(
    client: FlaskClient,
) -> None:
    wrong = {**FORM, "initial_capital": ""}
    answer = client.post("/estimate?format=json", data=wrong)
    assert answer.status_code == 400
    assert answer.json["error"].startswith("Capital must be a number")  # type: ignore[index]
    page_of_it = client.post("/estimate", data=wrong, headers=BROWSER)
    assert page_of_it.status_code == 400
    assert 'id="problem"' in page_of_it.text
