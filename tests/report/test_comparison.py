"""Runs side by side: rebased by hand, correlation by NumPy, and the days that they share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.report.comparison import comparison_of, daily_equity, kept_days, seconds_of


def equity(first: str, values: list[float], freq: str = "D") -> pd.Series:
    return pd.Series(values, index=pd.date_range(first, periods=len(values), freq=freq))


def test_each_run_counts_from_100_on_the_first_common_day() -> None:
    early = equity("2020-01-01", [50.0, 100.0, 200.0, 100.0, 300.0])
    late = equity("2020-01-03", [10.0, 5.0, 20.0, 40.0])
    comparison = comparison_of({"early": early, "late": late})
    assert comparison is not None
    assert (str(comparison.first), str(comparison.last)) == ("2020-01-03", "2020-01-05")
    assert comparison.values["early"].tolist() == [100.0, 50.0, 150.0]
    assert comparison.values["late"].tolist() == [100.0, 50.0, 200.0]
    assert comparison.total_return_pct("early") == 50.0
    assert comparison.max_drawdown_pct("late") == 50.0
    assert comparison.csv({"early": "A", "late": "B"}).splitlines()[:2] == [
        "date,A,B",
        "2020-01-03,100.000000,100.000000",
    ]


def test_a_run_without_a_bar_on_the_first_day_counts_from_its_last_one_before() -> None:
    """A share does not trade on the weekend on which the coin of the other run begins."""
    share = equity("2020-01-03", [80.0, 100.0, 120.0], freq="B")  # Friday, Monday, Tuesday
    coin = equity("2020-01-04", [1.0, 2.0, 3.0, 4.0])  # from Saturday on
    comparison = comparison_of({"share": share, "coin": coin})
    assert comparison is not None
    known = comparison.values["share"].dropna()
    assert known.tolist() == [100.0, 125.0, 150.0]
    assert comparison.shared_days == 3


def test_runs_without_two_common_days_are_not_compared() -> None:
    one = equity("2020-01-01", [1.0, 2.0])
    assert comparison_of({"a": one, "b": equity("2020-01-02", [1.0, 2.0])}) is None
    assert comparison_of({"a": one, "b": equity("2021-01-01", [1.0, 2.0])}) is None


def test_a_bankrupt_run_stays_at_nothing() -> None:
    ruined = equity("2020-01-01", [100.0, 0.0, 0.0, 0.0])
    other = equity("2020-01-02", [1.0, 2.0, 4.0])
    comparison = comparison_of({"ruined": ruined, "other": other})
    assert comparison is not None
    assert comparison.total_return_pct("ruined") == -100.0
    assert np.isnan(comparison.correlations_of("ruined")[1])
    assert comparison.max_drawdown_pct("ruined") == 100.0
    assert not comparison.drawdowns["ruined"].isna().any()


@given(
    seed=st.integers(0, 2**32 - 1),
    days=st.integers(10, 300),
    count=st.integers(2, 5),
)
def test_the_correlation_is_that_of_numpy(seed: int, days: int, count: int) -> None:
    random = np.random.default_rng(seed)
    steps = random.normal(0, 0.01, (count, days))
    equities = {
        str(number): equity("2020-01-01", (100 * np.exp(step.cumsum())).tolist())
        for number, step in enumerate(steps)
    }
    comparison = comparison_of(equities)
    assert comparison is not None
    returns = np.array([np.diff(each) / each[:-1] for each in map(np.array, equities.values())])
    expected = np.corrcoef(returns)
    found = np.array([comparison.correlations_of(name) for name in equities])
    np.testing.assert_allclose(found, expected, atol=1e-9)
    for name, values in equities.items():
        total = 100 * (values.iloc[-1] / values.iloc[0] - 1)
        assert comparison.total_return_pct(name) == pytest.approx(total, abs=1e-9)


def test_bars_of_minutes_count_by_their_last_one_of_the_day() -> None:
    index = pd.date_range("2020-01-01 09:00", periods=6, freq="12h", tz="Asia/Seoul")
    table = pd.DataFrame(
        {"equity": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "drawdown": 0.0}, index=index
    ).rename_axis("date")
    daily = daily_equity(table.to_csv())
    assert daily.to_dict() == {
        pd.Timestamp("2020-01-01"): 2.0,
        pd.Timestamp("2020-01-02"): 4.0,
        pd.Timestamp("2020-01-03"): 6.0,
    }


def test_long_runs_are_thinned_to_the_extremes_of_each_on_the_same_days() -> None:
    days = pd.date_range("1990-01-01", periods=9000)
    values = pd.DataFrame(
        {"a": np.sin(np.arange(9000) / 50), "b": np.cos(np.arange(9000) / 70)}, index=days
    )
    values.loc[days[::3], "b"] = np.nan
    kept = kept_days(values)
    assert len(kept) <= 802
    assert (kept[0], kept[-1]) == (days[0], days[-1])
    for name in values:
        shown = values.loc[kept, name]
        assert (shown.min(), shown.max()) == (values[name].min(), values[name].max())
    assert seconds_of(kept)[0] == 631152000
    assert kept_days(values.iloc[:500]).equals(days[:500])
