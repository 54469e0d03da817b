"""Kinds of markets are told apart, and a run's growth in each is that of its bars."""

from __future__ import annotations

import numpy as np
import pytest

from service.doubt.regimes import regimes_of

QUARTER = 63


def made_up() -> tuple[np.ndarray, np.ndarray]:
    """Closes of four rising, four flat and four falling quarters, each second one wild; equity."""
    random = np.random.Generator(np.random.PCG64(3))
    returns = []
    for quarter in range(12):
        size = 0.01 if quarter % 2 else 0.004
        noise = random.standard_normal(QUARTER) * size
        drift = (0.006, 0.0, -0.006)[quarter // 4]
        returns.append(noise - noise.mean() + drift)
    close = 100 * np.cumprod(1 + np.concatenate(returns))
    return close, 1000 * (close / close[0]) ** 0.5


def test_regimes_are_told_apart() -> None:
    close, equity = made_up()
    rows = {row.pop("regime"): row for row in regimes_of(close, equity, 252, 0.0)}
    assert list(rows) == ["rising", "flat", "falling", "calm", "wild"]
    shares = [row["share_pct"] for row in rows.values()]
    assert shares == pytest.approx([100 / 3, 100 / 3, 100 / 3, 50, 50], abs=1e-3)
    growth = close[4 * QUARTER - 1] / close[0]
    assert rows["rising"]["holding_cagr_pct"] == pytest.approx(100 * (growth - 1), rel=1e-5)
    assert rows["rising"]["cagr_pct"] == pytest.approx(100 * (growth**0.5 - 1), rel=1e-5)
    assert rows["falling"]["cagr_pct"] < 0
    assert rows["rising"]["sharpe_ratio"] > 2


def test_all_bars_are_in_one_of_three_and_in_one_of_two_regimes() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    close = 100 * np.cumprod(1 + random.normal(0.0004, 0.012, 2000))
    rows = regimes_of(close, close, 252, 0.0)
    shares = {row["regime"]: row["share_pct"] for row in rows}
    assert sum(shares[name] for name in ("rising", "flat", "falling")) == pytest.approx(100)
    assert shares["calm"] + shares["wild"] == pytest.approx(100)
    assert all(row["cagr_pct"] == row["holding_cagr_pct"] for row in rows)


def test_less_than_a_year_and_a_price_that_stands_still() -> None:
    assert regimes_of(np.full(251, 5.0), np.full(251, 5.0), 252, 0.0) == []
    (flat, calm) = regimes_of(np.full(300, 5.0), np.full(300, 5.0), 252, 0.0)
    assert (flat["regime"], calm["regime"]) == ("flat", "calm")
    assert flat["cagr_pct"] == 0
    assert flat["sharpe_ratio"] is None


def test_the_bars_after_the_last_whole_quarter_belong_to_it() -> None:
    random = np.random.Generator(np.random.PCG64(5))
    returns = random.normal(0.0005, 0.01, 253)
    returns[-1] = -0.3
    close = 100 * np.cumprod(1 + returns)
    rows = {row["regime"]: row for row in regimes_of(close, close, 252, 0.0)}
    assert rows["wild"]["share_pct"] == pytest.approx(100 * (63 + 64) / 253, rel=1e-5)
    assert rows["wild"]["cagr_pct"] < rows["calm"]["cagr_pct"], "the crash is no calm bar"
