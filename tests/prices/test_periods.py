"""How many bars are a year."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.metrics import bars_per_year
from service.prices.periods import are_longer_than_daily, bars_a_year


@pytest.mark.parametrize(
    ("index", "count"),
    [
        (pd.bdate_range("2014-01-01", periods=600), 252.0),
        (pd.date_range("2014-01-01", periods=600), 252.0),
        (pd.bdate_range("2014-01-01", periods=600)[::2], 252.0),
        (pd.date_range("2014-01-03", periods=600, freq="W-FRI"), 365.25 / 7),
        (pd.date_range("2014-01-01", periods=121, freq="MS"), 12.0),
        (pd.date_range("2014-01-02 09:30", periods=2, freq="min"), 504.0),
        (pd.DatetimeIndex(["2014-01-01"]), 252.0),
    ],
)
def test_bars_a_year(index: pd.DatetimeIndex, count: float) -> None:
    assert bars_a_year(index) == pytest.approx(count, rel=1e-3)


@given(
    st.lists(
        st.datetimes(pd.Timestamp("1990-01-01"), pd.Timestamp("2030-01-01")),
        min_size=2,
        max_size=60,
        unique=True,
    )
)
def test_only_what_is_longer_than_daily_counts_otherwise(moments: list[pd.Timestamp]) -> None:
    index = pd.DatetimeIndex(sorted(moments))
    count = bars_a_year(index)
    assert count > 0
    if not are_longer_than_daily(index):
        assert count == bars_per_year(index)
    else:
        assert count < 92
