"""The table of a backtest in a third of the bytes that zlib takes for its text.

Most of the text are digits that other columns imply: while a position is held the equity moves as
holding does, and the drawdown is that of the equity. So a column is kept as its distance from what
the others foretell, counted in the floating point numbers in between: mostly none or a few.
Whatever the numbers are, the text comes back to the last digit: one that would not is kept as text.
"""

from __future__ import annotations

import io
import zlib

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]

HEADING = "date,equity,drawdown,position,buy_and_hold"
MARK = b"\x01"  # no stream of zlib begins so
LEVEL = 9
MAX_CHARACTERS = 2_000_000  # packing a longer table would take seconds
COLUMNS = 5
DAY_CHARACTERS = len("2000-01-01")
UNITS = ("D", "s")  # of the dates, by their number in the second byte
RATE = np.dtype("<f8")
FIRST_BYTE = len(MARK) + 1 + RATE.itemsize


def pack(text: str) -> bytes:
    """The table, packed or at least compressed."""
    try:
        packed = _pack(text) if len(text) <= MAX_CHARACTERS else None
        if packed is not None and unpack(packed) == text:
            return packed
    except (ValueError, TypeError, IndexError, OverflowError):
        # Another table, or one with something else than numbers in it.
        pass
    return zlib.compress(text.encode())


@np.errstate(all="ignore")  # any bits are numbers
def unpack(content: bytes) -> str:
    """The text of a table that was packed or only compressed; raises ValueError or zlib.error."""
    if not content.startswith(MARK):
        return zlib.decompress(content).decode()
    if len(content) < FIRST_BYTE or content[len(MARK)] >= len(UNITS):
        raise ValueError("a table that was cut off")
    unit = UNITS[content[len(MARK)]]
    (rate,) = np.frombuffer(content[len(MARK) + 1 : FIRST_BYTE], RATE)
    shuffled = np.frombuffer(zlib.decompress(content[FIRST_BYTE:]), np.uint8)
    dates, positions, holdings, equities, drawdowns = (
        _from_bytes(column) for column in shuffled.reshape(COLUMNS, -1)
    )
    position = _numbers(positions)
    holding = _numbers(holdings)
    equity = _equity_from(equities, position, holding, rate)
    moments = np.datetime_as_string(np.cumsum(dates).astype(f"datetime64[{unit}]"))
    columns = {
        "date": np.char.replace(moments, "T", " "),
        "equity": equity,
        "drawdown": _numbers(drawdowns + _places(_drawdown(equity))),
        "position": position,
        "buy_and_hold": holding,
    }
    return str(pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))


@np.errstate(all="ignore")
def _pack(text: str) -> bytes:
    if not text.startswith(f"{HEADING}\n"):
        raise ValueError("another table")
    table = pd.read_csv(io.StringIO(text), dtype={"date": str})
    unit = 0 if table["date"].str.len().eq(DAY_CHARACTERS).all() else 1
    dates = table["date"].to_numpy().astype(f"datetime64[{UNITS[unit]}]").astype(np.int64)
    equity, drawdown, position, holding = (
        table[name].to_numpy(np.float64) for name in HEADING.split(",")[1:]
    )
    rate = _rate(equity, position, holding)
    columns = (
        np.diff(dates, prepend=0),
        _places(position),
        _places(holding),
        _distances(equity, position, holding, rate)[_order(position)],
        _places(drawdown) - _places(_drawdown(equity)),
    )
    shuffled = np.concatenate([_to_bytes(column) for column in columns])
    head = MARK + bytes([unit]) + np.array([rate], RATE).tobytes()
    return head + zlib.compress(shuffled.tobytes(), LEVEL)


def _starts(position: Floats) -> NDArray[np.bool_]:
    """Where another position begins."""
    return np.concatenate([[True], position[1:] != position[:-1]])


def _rate(equity: Floats, position: Floats, holding: Floats) -> float:
    """By how much a share moves while holding moves by one; the median over all that are held."""
    is_held = ~_starts(position)[1:] & (position[1:] != 0) & (np.diff(holding) != 0)
    moves = np.diff(equity)[is_held] / (position[1:] * np.diff(holding))[is_held]
    return float(np.median(moves)) if len(moves) else 0.0


def _foretold(equity: Floats, position: Floats, holding: Floats, rate: float) -> Floats:
    """The equity from that at the start of each position on; 0 at the starts themselves."""
    is_start = _starts(position)
    start = np.flatnonzero(is_start)[np.cumsum(is_start) - 1]
    foretold = equity[start] + position * rate * (holding - holding[start])
    return np.where(is_start, 0.0, foretold)


def _distances(equity: Floats, position: Floats, holding: Floats, rate: float) -> Whole:
    return _places(equity) - _places(_foretold(equity, position, holding, rate))


def _order(position: Floats) -> NDArray[np.intp]:
    """The starts first, where nothing is foretold: their long numbers stand together."""
    return np.argsort(~_starts(position), kind="stable")


def _equity_from(ordered: Whole, position: Floats, holding: Floats, rate: float) -> Floats:
    distances = np.empty_like(ordered)
    distances[_order(position)] = ordered
    at_starts = np.where(_starts(position), _numbers(distances), 0.0)
    return _numbers(distances + _places(_foretold(at_starts, position, holding, rate)))


def _drawdown(equity: Floats) -> Floats:
    return 1 - equity / np.maximum.accumulate(equity)


def _places(numbers: Floats) -> Whole:
    """The place of each number among all floating point numbers, counted from 0.0."""
    bits = numbers.view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def _numbers(places: Whole) -> Floats:
    """The numbers at these places."""
    return np.where(places < 0, np.iinfo(np.int64).min - places, places).view(np.float64)


def _to_bytes(whole: Whole) -> NDArray[np.uint8]:
    """All first bytes, then all second ones: those alike stand together, which zlib likes."""
    return whole.astype("<i8").view(np.uint8).reshape(-1, 8).T.reshape(-1)


def _from_bytes(shuffled: NDArray[np.uint8]) -> Whole:
    ordered = np.ascontiguousarray(shuffled.reshape(8, -1).T)
    return ordered.reshape(-1).view("<i8").astype(np.int64)
