"""A packed table comes back to the last digit, whatever it is, and is small where it is real."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.store.packing import HEADING, MARK, pack, unpack
from tests.support.backtests import perform

NUMBERS = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1e5, 0.1, 5e-324, 1.7e308])
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=30)


def table_of(rows: list[tuple[float, ...]], freq: str = "D") -> str:
    dates = pd.date_range("1999-12-30", periods=len(rows), freq=freq, name="date")
    return str(pd.DataFrame(rows, dates, HEADING.split(",")[1:]).to_csv(lineterminator="\n"))


@pytest.mark.parametrize("rule_id", ["MA_CROSS_10_30", "RSI_14_30_70", "MACD_12_26_9", "BB_20_10"])
@pytest.mark.parametrize("change", [{}, {"allow_short": True}, {"lot_size": 10}])
def test_real_tables_take_half_of_zlib_at_most(rule_id: str, change: dict[str, object]) -> None:
    text = perform(rule_id=rule_id, **change).equity_csv()  # type: ignore[arg-type]
    packed = pack(text)
    assert unpack(packed) == text
    assert packed.startswith(MARK)
    assert len(packed) < len(zlib.compress(text.encode(), 9)) * (0.75 if "BB" in rule_id else 0.5)


@given(ROWS, st.sampled_from(["D", "min", "s", "7D"]))
@example([(1e5, 0.0, 0.0, 1e5)], "D")
@example([(0.0, float("nan"), 0.0, 0.0), (1.0, 0.0, 1.0, 1.0)], "min")
def test_any_table_comes_back(rows: list[tuple[float, ...]], freq: str) -> None:
    with np.errstate(all="ignore"):
        text = table_of(rows, freq)
        assert unpack(pack(text)) == text


@given(st.text())
@example(HEADING)
@example(f"{HEADING}\n")
@example(f"{HEADING}\n2013-01-02,1,2,3,4\n")
@example(f"{HEADING}\n2013-01-02,1.0,2.0,3.0,4.0")
@example(f"{HEADING}\n2013-01-02,1.00,2.0,3.0,4.0\n")
@example(f"{HEADING}\n2013-01-02,a,2.0,3.0,4.0\n")
@example(f"{HEADING}\nnever,1.0,2.0,3.0,4.0\n")
@example(f"{HEADING}\n2013-01-02T10:00:00,1.0,2.0,3.0,4.0\n")
def test_any_text_comes_back(text: str) -> None:
    assert unpack(pack(text)) == text


def test_a_table_of_an_earlier_release_is_read() -> None:
    text = perform().equity_csv()
    assert unpack(zlib.compress(text.encode(), 6)) == text


@pytest.mark.parametrize(
    "content", [b"", b"\x01", b"\x01\x00abc", b"\x01\x07" + b"0" * 40, b"\xff"]
)
def test_what_is_no_table_is_an_error(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError, zlib.error)):
        unpack(content)
