"""A request, prices and a rule make a result: window, warnings, provenance, the same bytes."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest

from backtest.engine import BacktestEngine
from rules.registry import rule_from_id
from service.contract.errors import NoData
from service.contract.result import HEADLINE
from service.engine.adapter import Performed
from service.engine.metrics import metrics_of
from service.prices.series import PriceSeries
from tests.support.backtests import perform
from tests.support.prices import series


def test_the_result_is_the_engine_run_on_the_window() -> None:
    done = perform(commission_rate=0.002, lot_size=1.0)
    data = series("GOOG").data.loc["2013-01-02":"2020-02-07"]
    engine = BacktestEngine(100_000, 0.002, 0, 1).run(
        data, rule_from_id("MA_CROSS_10_30").generate_signals
    )
    result = done.result
    assert result.total_return_pct == engine["total_return_pct"]
    headline = {name: getattr(result, name) for name in HEADLINE}
    assert {**headline, **result.metrics} == metrics_of(engine)
    assert list(result.trades) == engine["trades"]
    assert result.document()["status"] == "completed"
    provenance = result.provenance
    expected = {
        "rule_id": "MA_CROSS_10_30",
        "params": {"fast": 10, "slow": 30},
        "commission_rate": 0.002,
        "lot_size": 1.0,
        "first_bar": "2013-01-02",
        "last_bar": "2020-02-07",
        "bars": len(data),
        "rules_digest": "digest",
        "prices_source": "GOOG.csv",
        "prices_fingerprint": series("GOOG").fingerprint,
        "engine_version": "1.2.0",
        "contract_version": 1,
        "fill": "next_open",
    }
    assert {name: provenance[name] for name in expected} == expected


def test_both_dates_are_inclusive() -> None:
    assert perform().bars.index[[0, -1]].astype(str).tolist() == ["2013-01-02", "2020-02-07"]


def test_indicators_see_only_bars_inside_the_window() -> None:
    later = perform(start_date="2015-01-02")
    first = pd.Timestamp(later.result.trades[0]["entry_date"])
    assert (
        series("GOOG").data.index.get_loc(first)
        >= series("GOOG").data.index.get_loc(pd.Timestamp("2015-01-02")) + 30
    )


def codes(done: Performed) -> list[str]:
    return [warning["code"] for warning in done.result.provenance["warnings"]]


def test_warnings_of_the_window_only() -> None:
    assert codes(perform()) == ["TinyVolume"] * 5
    assert codes(perform(start_date="2015-01-02")) == []


def test_clipping_is_said_so() -> None:
    done = perform(start_date="2000-01-01", end_date="2023-12-31")
    assert codes(done)[:2] == ["Clipped", "Clipped"]
    assert "2013-01-02" in done.result.provenance["warnings"][0]["message"]
    assert codes(perform(start_date="2013-01-01"))[0] == "Clipped", "a day is enough"
    assert codes(perform(end_date="2023-09-22"))[0] == "Clipped"


def test_ruin_is_a_warning_and_a_metric() -> None:
    data = pd.DataFrame(
        {name: np.linspace(10, 100, 60) for name in ("Open", "High", "Low", "Close")}
        | {"Volume": 1.0},
        index=pd.bdate_range("2020-01-01", periods=60, name="Date"),
    )
    rising = PriceSeries("GOOG", "made", data)
    short = perform(
        prices=rising,
        rule_id="BB_20_0.5",
        allow_short=True,
        start_date="2020-01-01",
        end_date="2021-01-01",
    )
    assert "Ruin" in codes(short)
    assert short.result.metrics["bankruptcy_shortfall"] > 0
    assert short.result.total_return_pct == -100


def test_prices_with_an_error_are_not_backtested() -> None:
    broken = series("GOOG").data.copy()
    broken.iloc[50, 3] = np.nan
    with pytest.raises(
        NoData, match=r"The prices of GOOG cannot be backtested: 2013-03-15: Close is nan\."
    ):
        perform(prices=PriceSeries("GOOG", "broken", broken))


def test_the_same_bytes_twice() -> None:
    assert perform().result.canonical() == perform().result.canonical()
    assert perform().equity_csv() == perform().equity_csv()


def test_the_equity_table() -> None:
    done = perform()
    table = pd.read_csv(io.StringIO(done.equity_csv()), index_col=0, parse_dates=True)
    assert table.columns.tolist() == ["equity", "drawdown", "position", "buy_and_hold"]
    assert table["equity"].tolist() == done.bars["equity"].tolist()
    assert table["drawdown"].max() == pytest.approx(done.result.max_drawdown_pct / 100)
    assert (table["position"] > 0).mean() == pytest.approx(
        done.result.metrics["exposure_pct"] / 100
    )
