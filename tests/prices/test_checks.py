"""The data gate: nine defects of nine found, no false alarm on the bundled prices."""

from __future__ import annotations

import pandas as pd
import pytest

from service.prices.checks import check_prices
from tests.support.price_defects import CLEAN, DEFECTS, set_cell
from tests.support.prices import TICKERS, prices


@pytest.mark.parametrize("defect", DEFECTS)
def test_every_defect_is_found(defect: str) -> None:
    change, severity, code = DEFECTS[defect]
    findings = check_prices(change(CLEAN.copy()))
    assert [(f.severity, f.code) for f in findings if f.code == code] == [(severity, code)], (
        findings
    )
    assert all(f.severity == severity for f in findings)
    day = next(f.day for f in findings if f.code == code)
    assert day is not None
    if code == "NoDate":
        assert (day, findings[0].message) == ("no date", "the date of row 101 is empty")
        return
    expected_row = 150 if defect in ("unadjusted split", "spike") else 100
    row = CLEAN.index.get_indexer([pd.Timestamp(day)], method="nearest")[0]
    assert abs(row - expected_row) <= 1


def test_the_clean_file_is_clean() -> None:
    assert check_prices(CLEAN) == []


KNOWN = {
    # what data/SOURCES.md lists, and nothing else
    "ABBV": {"TinyVolume": ["2012-12-24"]},
    "GOOG": {"TinyVolume": ["2014-03-27", "2014-03-28", "2014-03-31", "2014-04-01", "2014-04-02"]},
    "SPY": {
        "TinyVolume": [
            "2001-03-06",
            "2001-03-14",
            "2007-05-11",
            "2007-05-14",
            "2007-05-15",
            "2007-05-16",
            "2007-05-17",
        ]
    },
}


@pytest.mark.parametrize("ticker", TICKERS)
def test_no_false_alarm_on_the_bundled_prices(ticker: str) -> None:
    days: dict[str, list[str | None]] = {}
    for finding in check_prices(prices(ticker)):
        assert finding.severity == "warning"
        days.setdefault(finding.code, []).append(finding.day)
    if ticker == "MSFT":
        assert days.pop("MissingSessions") == ["1998-10-29", "1999-11-16"]
        assert days.pop("ZeroVolume") == ["2010-04-26"]
        assert all(day is not None and day < "1990" for day in days.pop("Stale"))
    assert days == KNOWN.get(ticker, {})


def only_finding(data: pd.DataFrame) -> tuple[str, str | None]:
    (finding,) = check_prices(data)
    return finding.code, finding.day


def test_other_faults() -> None:
    day = str(CLEAN.index[100].date())
    assert only_finding(set_cell(100, "Close", 1e9)(CLEAN.copy())) == ("OutsideRange", day)
    assert only_finding(set_cell(100, "Volume", -1.0)(CLEAN.copy())) == ("NotPositive", day)
    assert only_finding(set_cell(100, "Volume", 0.0)(CLEAN.copy())) == ("ZeroVolume", day)
    assert only_finding(CLEAN.assign(Volume=0.0)) == ("NoVolume", None)
    assert only_finding(CLEAN.iloc[:1]) == ("TooShort", None)
    assert only_finding(CLEAN.iloc[:0]) == ("TooShort", None)


def test_reverse_splits_and_other_ratios() -> None:
    for ratio in (1.5, 3, 7, 10, 1 / 4):
        data = CLEAN.copy()
        data.iloc[150:, :4] *= ratio
        (finding,) = [f for f in check_prices(data) if f.code == "SplitShapedJump"]
        assert (f"{ratio:g}:1" if ratio > 1 else f"1:{1 / ratio:g}") in finding.message


def test_a_stale_tail() -> None:
    data = CLEAN.copy()
    data.iloc[-6:, :4] = data.iloc[-7, :4].to_numpy()
    (finding,) = check_prices(data)
    assert (finding.code, finding.day) == ("Stale", str(data.index[-7].date()))
    assert "7 identical bars at the end" in finding.message


@pytest.mark.parametrize(
    ("ticker", "day", "ratio"),
    [
        ("AAPL", "2020-08-31", 4),
        ("AAPL", "2014-06-09", 7),
        ("NVDA", "2021-07-20", 4),
        ("GOOG", "2022-07-18", 20),
        ("AMZN", "2022-06-06", 20),
    ],
)
def test_real_splits_that_were_not_adjusted_for_are_found(
    ticker: str, day: str, ratio: float
) -> None:
    data = prices(ticker)
    before = data.index < pd.Timestamp(day)
    data.loc[before, ["Open", "High", "Low", "Close"]] *= ratio
    assert [f.day for f in check_prices(data) if f.code == "SplitShapedJump"] == [day]


def test_weekly_bars() -> None:
    assert {finding.code for finding in check_prices(CLEAN.iloc[::5])} == {"NotDaily"}


def test_a_bar_on_a_saturday() -> None:
    friday = next(i for i, day in enumerate(CLEAN.index) if day.weekday() == 4)
    moved = CLEAN.copy()
    moved.index = [
        *CLEAN.index[:friday],
        CLEAN.index[friday] + pd.Timedelta(days=1),
        *CLEAN.index[friday + 1 :],
    ]
    assert {f.code for f in check_prices(moved)} == {"NoSession", "MissingSessions"}


def test_a_jump_is_named_by_its_nearest_ratio() -> None:
    data = CLEAN.copy()
    data.iloc[150:, :4] /= 7.45 * CLEAN["Open"].iloc[150] / CLEAN["Close"].iloc[149]
    (finding,) = [f for f in check_prices(data) if f.code == "SplitShapedJump"]
    assert "1:7 " in finding.message


def test_a_few_months_of_another_exchange() -> None:
    korean = pd.bdate_range("2024-01-02", "2024-04-30").difference(
        pd.DatetimeIndex(["2024-02-09", "2024-02-12", "2024-03-01", "2024-04-10"])
    )
    data = CLEAN.iloc[: len(korean)].copy()
    data.index = korean
    assert [f.code for f in check_prices(data)] == ["OtherCalendar"]


def test_other_calendars_are_said_once() -> None:
    every_day = CLEAN.copy()
    every_day.index = pd.date_range("2020-01-01", periods=len(CLEAN), freq="D")
    (finding,) = check_prices(every_day)
    assert (finding.code, finding.severity, finding.day) == ("OtherCalendar", "warning", None)


def test_bars_inside_a_day_need_no_calendar() -> None:
    data = CLEAN.iloc[:20].copy()
    data.index = pd.date_range("2024-01-02 09:30", periods=20, freq="15min")
    assert {f.code for f in check_prices(data)} <= {"TinyVolume"}
