"""The page of a completed run: answer, tiles, tear sheet, trades, chart, report."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re

import numpy as np
import pandas as pd
import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, delete, update

from service.prices.series import PriceSeries
from service.report import overview
from service.store.prices import PriceStore
from service.store.tables import price_series, results, tickers
from service.store.tables import runs as runs_table
from service.usecases.runs import Runs
from service.web.result_page import growth_by_calendar, heat_of, tenths, verdict
from service.web.warnings import SENTENCES, told
from service.worker import run as worker_run
from tests.support.prices import prices, random_walk
from tests.support.reports import made_up
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, FORM, completed, page

KOREAN = {"Accept-Language": "ko"}
# lightweight-charts 5.1.0 on npm: dist/lightweight-charts.standalone.production.js
CHARTS_SHA256 = "756b0ba9f58930226d6b8b9d47ad310448ab85d799ea1f7c2c02304777c10b52"
MAX_PAGE_AND_DATA = 300_000


def words(text: str) -> str:
    """The text that a reader sees."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def test_the_answer_comes_first(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    text = words(page(client, f"/result/{run_id}"))
    answer = "162.95 % against 309.22 % of holding: behind by 146.28 percentage points."
    assert answer in text
    places = [text.index(part) for part in (answer, "Total return", "Sharpe ratio", "Costs")]
    assert places == sorted(places)
    for fact in ("1,788 bars", "Capital 100,000.00", "Commission 0.1 %", "long only", "Asked"):
        assert fact in text
    for band in ("0.19 to 1.58", "39.39 % to 75.76 %"):
        assert f"95 % band: {band}" in text


def test_a_fragile_and_a_sturdy_result_say_so(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    text = words(page(client, f"/result/{run_id}"))
    document = client.get(f"/result/{run_id}").json
    assert document is not None
    asked, *others = document["doubt"]["changes"]
    lost = [row for row in others if row["sharpe_ratio"] < asked["sharpe_ratio"] / 2]
    assert [row["change"] for row in lost] == ["best_trades"], "which is no fault of the rule"
    assert "Sturdy: each of 12 changes leaves at least half of the Sharpe ratio." in text
    assert text.count("▼") == len(lost) + 1, "and once in the note below"
    assert "fast 9 instead of 10" in text
    assert "Its record of 7.0 years is long enough for 95 %" in text
    assert "another time as long, 95 %: 12.74 % to 37.50 %" in text
    run_id = completed(
        client, runs, rule_id="ANY(MA_CROSS_10_30,RSI_14_30_70)", end_date="2023-09-21"
    )
    text = words(page(client, f"/result/{run_id}"))
    assert "Sturdy" in text
    assert "RSI_14_30_70: oversold 27 instead of 30" in text


def test_a_loser_has_nothing_to_lose_and_an_idle_run_no_changes(
    client: FlaskClient, runs: Runs
) -> None:
    run_id = completed(client, runs, rule_id="MOMENTUM_1")
    text = words(page(client, f"/result/{run_id}"))
    assert (
        "Its Sharpe ratio is not above 0: there is nothing that a change could take away." in text
    )
    assert "Its record" not in text
    run_id = completed(client, runs, rule_id="BB_20_10")
    assert "How sure is this?" not in page(client, f"/result/{run_id}")


@pytest.mark.parametrize(
    ("cost", "told"),
    [
        (0.0, "Also without any costs it would not have gained."),
        (0.25, "It breaks even where each purchase and each sale costs 0.25 %; asked: 0.1 %."),
        (None, ""),
    ],
)
def test_the_costs_at_which_nothing_is_left(
    client: FlaskClient,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
    cost: float | None,
    told: str,
) -> None:
    made = worker_run.doubt_of
    monkeypatch.setattr(
        worker_run, "doubt_of", lambda *asked: {**made(*asked), "break_even_cost_pct": cost}
    )
    text = words(page(client, f"/result/{completed(client, runs)}"))
    assert told in text
    assert ("without any costs" in text, "breaks even" in text) == (cost == 0, bool(cost))


def test_a_result_of_an_earlier_version_has_the_band_of_its_sheet(
    client: FlaskClient, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_run, "doubt_of", lambda *_: {})
    run_id = completed(client, runs)
    text = words(page(client, f"/result/{run_id}"))
    assert text.count("95 % band") == 1
    assert "95 % band: 0.17 to 1.57" in text
    assert "How sure is this?" not in text


def test_the_answer_in_korean_has_no_english_sentence(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    shown = page(client, f"/result/{run_id}", **KOREAN)
    shown = re.sub(
        r"<code>.*?</code>|<script.*?</script>|<table class=.provenance.*?</table>",
        "",
        shown,
        flags=re.DOTALL,
    )
    text = words(shown.replace("Stock Backtesting Platform", ""))
    assert "전략 수익률은 162.95 %, 매수 후 보유는 309.22 %로 전략이 146.28 %p 뒤졌습니다." in text
    assert "거래량이" in text, "the warnings are told in Korean"
    english = set(re.findall(r"[A-Za-z]{4,}(?: [a-z]{2,}){2,}", text))
    assert english == set()


def test_verdicts() -> None:
    def of(own: float, holding: float | None, trades: int = 3) -> str:
        values = {"total_return_pct": own, "num_trades": trades}
        return verdict({**values, "buy_and_hold_return_pct": holding})

    with Flask("test").test_request_context():
        assert of(5.0, 3.0).endswith("ahead by 2.00 percentage points.")
        assert of(-5.0, 3.0).endswith("behind by 8.00 percentage points.")
        assert of(3.0, 3.0) == "3.00 %, as much as holding."
        assert of(0.0, 3.5, trades=0).startswith("The rule never traded")
        assert of(1.0, None) == "1.00 % in the whole period."


def test_heat_is_darkest_where_returns_are_largest() -> None:
    months = [None, 0.0, 0.1, -0.1, 5.0, -5.0, *[None] * 6]
    (row,) = heat_of([{"months": months}])
    assert row[:6] == ["", "", "gain-1", "loss-1", "gain-4", "loss-4"]
    assert heat_of([{"months": [None, 0.0]}]) == [["", ""]]


def trade_numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'<tr id="trade-(\d+)"', text)]


def test_trades_are_sorted_filtered_and_paged(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    trades = client.get(f"/result/{run_id}").json["trades"]  # type: ignore[index]
    address = f"/result/{run_id}"
    assert trade_numbers(page(client, address)) == list(range(1, len(trades) + 1))
    by_gain = sorted(range(len(trades)), key=lambda at: -trades[at]["pnl"])
    shown = page(client, f"{address}?sort=-pnl")
    assert trade_numbers(shown) == [at + 1 for at in by_gain]
    assert 'aria-sort="descending"' in shown
    losses = [at + 1 for at, trade in enumerate(trades) if trade["pnl"] <= 0]
    assert trade_numbers(page(client, f"{address}?outcome=loss")) == losses
    assert "No such trades." in page(client, f"{address}?side=short")


def test_a_hundred_trades_are_on_a_page(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, rule_id="MOMENTUM_1")
    count = client.get(f"/result/{run_id}").json["num_trades"]  # type: ignore[index]
    assert count > 200
    assert trade_numbers(page(client, f"/result/{run_id}?page=2")) == list(range(101, 201))
    last = trade_numbers(page(client, f"/result/{run_id}?page=999999"))
    assert last[-1] == count


@pytest.mark.parametrize(
    "query", ["sort=nonsense", "sort=%3Cscript%3E", "side=up", "outcome=x", "page=0", "page=x"]
)
def test_a_query_that_cannot_be(client: FlaskClient, runs: Runs, query: str) -> None:
    run_id = completed(client, runs)
    answer = client.get(f"/result/{run_id}?{query}", headers=BROWSER)
    assert answer.status_code == 400
    assert "must be" in answer.text
    assert "<script>" not in answer.text


def test_the_chart_script_is_that_of_npm(client: FlaskClient) -> None:
    answer = client.get("/lightweight-charts.js")
    assert hashlib.sha256(answer.data).hexdigest() == CHARTS_SHA256
    assert answer.mimetype == "text/javascript"


def test_the_page_names_whose_charts_they_are(client: FlaskClient, runs: Runs) -> None:
    text = page(client, f"/result/{completed(client, runs)}")
    assert 'href="https://www.tradingview.com/"' in text
    assert "TradingView, Inc." in text


def test_page_and_chart_are_small(client: FlaskClient, runs: Runs) -> None:
    for rule_id in ("MA_CROSS_10_30", "MOMENTUM_1"):
        run_id = completed(client, runs, rule_id=rule_id)
        address = f"/result/{run_id}"
        size = len(client.get(address, headers=BROWSER).data)
        size += len(client.get(f"{address}/chart.json").data)
        assert size < MAX_PAGE_AND_DATA


def test_a_part_of_the_chart(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    whole = client.get(f"/result/{run_id}/chart.json").json
    part = client.get(f"/result/{run_id}/chart.json?first=100&end=200").json
    assert whole is not None
    assert part is not None
    assert part["bar"] == list(range(100, 200))
    assert part["equity"] == whole["equity"][100:200]
    assert part["lines"][0]["values"] == whole["lines"][0]["values"][100:200]


def test_figures_in_other_looks(client: FlaskClient, runs: Runs) -> None:
    address = f"/result/{completed(client, runs)}/figure.png"
    plain = client.get(address).data
    assert client.get(f"{address}?lang=en&theme=light").data == plain
    looks = {client.get(f"{address}?{query}").data for query in ("lang=ko", "theme=dark")}
    assert len({plain, *looks}) == 3
    again = client.get(f"{address}?theme=dark").data
    assert again in looks, "the same bytes each time"
    assert all(look.startswith(b"\x89PNG") for look in looks)


def test_the_report_is_one_file_with_the_numbers_of_the_tables(
    client: FlaskClient, runs: Runs
) -> None:
    run_id = completed(client, runs)
    answer = client.get(f"/result/{run_id}/report")
    text = answer.text
    assert re.findall(r'(?:src|href|srcset)="(?!data:image/png;base64,)[^"]*"', text) == []
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    assert "GOOG-MA_CROSS_10_30" in answer.headers["Content-Disposition"]
    rows = re.findall(r"<tr class=\"(?:gain|loss)\">(.*?)</tr>", text, re.DOTALL)
    table = csv.DictReader(io.StringIO(client.get(f"/result/{run_id}/trades.csv").text))
    for row, trade in zip(rows, table, strict=True):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        assert cells[1] == trade["entry_date"]
        assert cells[3] == (trade["exit_date"] or "open")
        assert cells[7] == f"{float(trade['pnl']):,.2f}"
        assert cells[8] == f"{float(trade['return_pct']):,.2f} %"
    equity = pd.read_csv(io.StringIO(client.get(f"/result/{run_id}/equity.csv").text))
    total = 100 * (equity["equity"].iloc[-1] / 100_000 - 1)
    assert f"{total:,.2f} %" in text
    assert f"{100 * equity['drawdown'].max():,.2f} %" in text


def test_the_language_of_a_file_is_not_that_of_the_reader(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    for part in ("figure.png", "report"):
        assert "Set-Cookie" not in client.get(f"/result/{run_id}/{part}?lang=ko").headers
    assert "Set-Cookie" in client.get(f"/result/{run_id}?lang=ko", headers=BROWSER).headers


def test_months_without_bars_have_no_mean(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, start_date="2019-06-01", end_date="2019-09-30")
    text = page(client, f"/result/{run_id}")
    table = text[text.index("By month of the year") :]
    names = re.findall(r'<th scope="row">(\w+)</th>', table[: table.index("</table>")])
    assert names == ["Jun", "Jul", "Aug", "Sep"]


def test_tenths_have_no_sign_at_zero() -> None:
    assert tenths(-0.04) == "0.0"
    assert tenths(-0.06) == "-0.1"


def test_a_wrong_benchmark_is_marked_itself(client: FlaskClient) -> None:
    for field in ("benchmark", "ticker"):
        answer = client.post("/backtest", data={**FORM, field: "NOPE"}, headers=BROWSER)
        (marked,) = re.findall(r'name="(\w+)"[^>]* aria-invalid="true"', answer.text)
        assert marked == field


def test_the_report_in_korean(client: FlaskClient, runs: Runs) -> None:
    text = client.get(f"/result/{completed(client, runs)}/report?lang=ko").text
    assert '<html lang="ko">' in text
    assert "월별 수익률" in text


def test_a_run_without_a_result_has_neither_chart_nor_report(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    for part in ("chart.json", "report", "figure.png?theme=dark"):
        answer = client.get(f"/result/{run_id}/{part}")
        assert (answer.status_code, answer.json["code"]) == (404, "NotFound")  # type: ignore[index]
    assert "data-standing" in page(client, f"/result/{run_id}")
    failed = {"status": "failed", "reason": "Timeout", "message": "It took too long."}
    with engine.begin() as connection:
        connection.execute(update(runs_table).where(runs_table.c.run_id == run_id).values(failed))
    assert client.get(f"/result/{run_id}/report").status_code == 404
    assert "It took too long." in page(client, f"/result/{run_id}")


def test_a_run_whose_prices_are_gone(client: FlaskClient, runs: Runs, engine: Engine) -> None:
    run_id = completed(client, runs)
    with engine.begin() as connection:
        connection.execute(delete(tickers))
        connection.execute(delete(price_series))
    assert "behind by" in page(client, f"/result/{run_id}")
    chart = client.get(f"/result/{run_id}/chart.json").json
    assert chart is not None
    assert "close" not in chart
    assert len(chart["equity"]) == 1788
    stored = client.get(f"/result/{run_id}/figure.png").data
    assert client.get(f"/result/{run_id}/figure.png?theme=dark").data == stored
    assert client.get(f"/result/{run_id}/report").status_code == 200


@pytest.mark.parametrize("rule_id", ["BB_20_10", "VALUE_756_60"])
def test_a_run_of_no_trade_or_few(client: FlaskClient, runs: Runs, rule_id: str) -> None:
    run_id = completed(client, runs, rule_id=rule_id)
    assert page(client, f"/result/{run_id}")
    assert client.get(f"/result/{run_id}/chart.json").status_code == 200


@pytest.mark.parametrize("scale", [1e-8, 1e9])
def test_tiny_and_huge_prices(client: FlaskClient, runs: Runs, scale: float) -> None:
    data = random_walk(300, 5, 0.02)
    data[["Open", "High", "Low", "Close"]] *= scale / 100
    runs.price_store.save(made_up(data))
    run_id = completed(client, runs, ticker="MADE", start_date="2014-01-01", end_date="2015-12-31")
    text = page(client, f"/result/{run_id}")
    price = re.search(r'<td class="number">([\d,.]+)</td>\s*<td>2014', text)
    assert price is not None
    digits = price[1].replace(",", "").replace(".", "").lstrip("0")
    assert len(digits) >= 6


def test_a_rule_that_is_gone_leaves_the_chart_without_its_lines(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run_id = completed(client, runs)
    text = runs.run(run_id).request.replace("MA_CROSS_10_30", "GONE_10_30")
    with engine.begin() as connection:
        change = update(runs_table).where(runs_table.c.run_id == run_id)
        connection.execute(change.values(request=text))
    chart = client.get(f"/result/{run_id}/chart.json").json
    assert chart is not None
    assert chart["lines"] == []
    assert chart["close"]


def test_the_worker_stores_what_the_page_of_a_long_run_shows(
    client: FlaskClient, runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_by_web = completed(client, runs)
    monkeypatch.setattr(overview, "LONG_RUN", 1000)
    made_by_worker = completed(client, runs, initial_capital=200_000)
    assert runs.run_store.overview_of(runs.run(made_by_web)) is None
    stored = json.loads(runs.run_store.overview_of(runs.run(made_by_worker)) or "")
    assert stored["chart"]["bars"] == 1788
    shown = client.get(f"/result/{made_by_worker}/chart.json").json
    assert shown == stored["chart"]
    with engine.begin() as connection:
        connection.execute(update(results).values(overview=None))
    assert client.get(f"/result/{made_by_worker}/chart.json").json == shown, "made anew"


def test_every_warning_is_known(client: FlaskClient) -> None:
    """The sentences of the data gate and of the engine, as their code writes them."""
    with client.application.test_request_context(headers=KOREAN):
        for sentence in SENTENCES:
            filled = re.sub(r"\{\w+\}", "5", sentence)
            assert re.search("[가-힣]", told(filled)), sentence
        assert told("SPY: the volume is 0").startswith("SPY: ")
        assert told("nobody knows this") == "nobody knows this"


def test_prices_with_every_fault_warn_in_korean(client: FlaskClient, runs: Runs) -> None:
    data = random_walk(400, 7, 0.01)
    data.iloc[50, 4] = 0.0
    data.iloc[60:70, :4] = 100.0
    data.iloc[100:, :4] /= 2
    data.iloc[200:, :4] *= 5.3
    data.iloc[300, 4] = 1e12
    data.iloc[320] = data.iloc[318]
    keep = np.ones(len(data), dtype=bool)
    keep[150:153] = False
    PriceStore.save(runs.price_store, made_up(data[keep]))
    run_id = completed(client, runs, ticker="MADE", start_date="2010-01-01", end_date="2019-12-31")
    document = client.get(f"/result/{run_id}").json
    assert document is not None
    warnings = document["provenance"]["warnings"]
    assert len({warning["code"] for warning in warnings}) >= 6
    with client.application.test_request_context(headers=KOREAN):
        for warning in warnings:
            assert re.search("[가-힣]", told(warning["message"])), warning


@pytest.mark.parametrize(
    ("return_pct", "years", "growth"),
    [
        (0.0, 3.0, 0.0),
        (100.0, 1.0, 100.0),
        (21.0, 2.0, 10.0),
        (-100.0, 2.0, -100.0),
        (-101.0, 2.0, None),
        (None, 2.0, None),
        (1e300, 1e-9, None),
    ],
)
def test_growth_is_true_for_the_calendar(
    return_pct: float | None, years: float, growth: float | None
) -> None:
    assert growth_by_calendar(return_pct, years) == (
        None if growth is None else pytest.approx(growth)
    )


def test_weekly_bars_grow_by_the_year_and_not_by_252_weeks(client: FlaskClient, runs: Runs) -> None:
    weekly = prices("GOOG").iloc[::5]
    runs.price_store.save(PriceSeries("WEEKLY", "made up", weekly))
    asked = {"ticker": "WEEKLY", "rule_id": "TREND", "start_date": "2013-01-02"}
    run_id = completed(client, runs, **asked, end_date="2023-09-21")
    result = client.get(f"/result/{run_id}", headers={"Accept": "application/json"}).json
    assert result is not None
    years = (weekly.index[-1] - weekly.index[0]).days / 365.25
    held = 100 * ((1 + result["metrics"]["buy_and_hold_return_pct"] / 100) ** (1 / years) - 1)
    text = page(client, f"/result/{run_id}")
    assert f"Holding {held:,.2f}" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Growth per 252 bars" in text
