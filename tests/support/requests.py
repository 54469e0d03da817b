"""Requests that are valid, for tests that need one and do not care which."""

from __future__ import annotations

RUN_ID = "11111111-1111-4111-8111-111111111111"
REQUEST = {
    "ticker": "GOOG",
    "rule_id": "MA_CROSS_10_30",
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
SWEEP = {
    "tickers": ["GOOG"],
    "rule_id": "MA_CROSS",
    "grid": {"fast": "5:25:5", "slow": [10, 30, 60]},
    "start_date": "2015-01-02",
    "end_date": "2018-12-31",
}
