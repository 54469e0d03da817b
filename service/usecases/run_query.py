"""The language in which runs are searched: `ticker=GOOG rule=RSI sharpe_ratio>0.8 tag=idea star`.

Conditions stand side by side, and a run has to fulfil all of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from difflib import get_close_matches

from service.contract.errors import InvalidRequest
from service.contract.status import KINDS, SWEEP, Status
from service.store.finding import SORTED, Condition, Value

MAX_QUERY_CHARACTERS = 500
MAX_CONDITIONS = 20
EQUALITY = ("=", "!=")
ORDER = ("=", "!=", "<", "<=", ">", ">=")
TEXT = ("=", "!=", "~")
EXAMPLE = "ticker=GOOG sharpe_ratio>0.8"


@dataclass(frozen=True)
class QueryField:
    """What a condition may be about, with an example of a value."""

    name: str
    comparisons: Sequence[str]
    meaning: str
    example: str
    choices: Sequence[str] = ()
    is_number: bool = False
    is_day: bool = False


def _number(name: str, meaning: str, example: str) -> QueryField:
    return QueryField(name, ORDER, meaning, example, is_number=True)


FIELDS: Mapping[str, QueryField] = {
    field.name: field
    for field in (
        QueryField("ticker", TEXT, "Ticker; several with commas", "GOOG,AAPL"),
        QueryField("rule", TEXT, "Rule with or without its numbers", "RSI"),
        QueryField("status", EQUALITY, "State", "completed", choices=tuple(Status)),
        QueryField(
            "kind",
            EQUALITY,
            "Backtest, search of parameters, or fetch of prices",
            SWEEP,
            choices=KINDS,
        ),
        QueryField("asked", ORDER, "Day of the request, UTC", "2026-11-01", is_day=True),
        QueryField("start_date", ORDER, "First day of the backtest", "2015-01-01", is_day=True),
        QueryField("end_date", ORDER, "Last day of the backtest", "2020-12-31", is_day=True),
        _number("costs_pct", "Commission and slippage together, in percent", "0.1"),
        _number("total_return_pct", "Total return", "50"),
        _number("buy_and_hold_return_pct", "Return of holding", "50"),
        _number("excess_pct", "Return beyond holding, in percentage points", "0"),
        _number("sharpe_ratio", "Sharpe ratio", "0.8"),
        _number("max_drawdown_pct", "Maximum drawdown", "20"),
        _number("num_trades", "Trades", "10"),
        QueryField("tag", TEXT, "Tag; several with commas", "idea"),
        QueryField("star", ("=",), "With a star", "yes", choices=("yes", "no")),
        QueryField("note", ("~",), "A word in the note", "idea"),
        QueryField("client", TEXT, "Who asked", "kim"),
        QueryField("batch", EQUALITY, "The runs of one batch, by its id", "1f0c..."),
        QueryField("prices", EQUALITY, "The fingerprint of the prices, or its beginning", "9b1c"),
    )
}
# A value in quotes may hold spaces.
CONDITION = re.compile(
    r"\s*(?P<name>\w+)\s*(?P<comparison><=|>=|!=|=|<|>|~)\s*"
    r'(?P<value>"[^"]*"|(?![=<>!~])[^\s"]+)'
)
# What stands where a value is missing: the next condition.
BEGINNING = re.compile(r"\w+(<|>|!=|=|~)")
WORD = re.compile(r"\s*(?P<word>\S+)")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
LEAST_PART = 3  # characters of a name's part that may be meant
LISTED = ("ticker", "tag", "status", "client", "batch", "prices")


def conditions_of(text: str) -> list[Condition]:
    """The conditions of a query; raises InvalidRequest with the part that is wrong."""
    if len(text) > MAX_QUERY_CHARACTERS:
        template = "A search has at most {most} characters, got {count}."
        raise InvalidRequest(template, most=MAX_QUERY_CHARACTERS, count=len(text))
    conditions = list(_conditions(text))
    if len(conditions) > MAX_CONDITIONS:
        template = "A search has at most {most} conditions, got {count}."
        raise InvalidRequest(template, most=MAX_CONDITIONS, count=len(conditions))
    return conditions


def _conditions(text: str) -> Iterator[Condition]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        match = CONDITION.match(text, at)
        if match is not None:
            name = match["name"].lower()
            is_apart = text[match.start("value") - 1].isspace()
            if is_apart and BEGINNING.match(match["value"]):
                raise _missing_value(name)
            yield _condition(name, match["comparison"], match["value"])
        else:
            match = WORD.match(text, at)
            assert match is not None
            yield _flag(match["word"])
        at = match.end()


def _flag(word: str) -> Condition:
    """A condition of one word; `star` is the only one."""
    if word.lower() == "star":
        return Condition("star", "=", ["yes"])
    name = word.rstrip("=<>!~").lower()
    if name in FIELDS:
        raise _missing_value(name)
    if re.fullmatch(r"[\w.^-]+", word):
        template = "{word} is no condition; write ticker={word}, rule={word} or tag={word}."
        raise InvalidRequest(template, word=word[:40])
    raise _unreadable(word, EXAMPLE)


def _missing_value(name: str) -> InvalidRequest:
    if name not in FIELDS:
        return _unknown_field(name)
    field = FIELDS[name]
    example = f"{name}{field.comparisons[0]}{field.example}"
    template = "{field} has no value; a condition is written as {example}."
    return InvalidRequest(template, field=name, example=example)


def _unreadable(word: str, example: str) -> InvalidRequest:
    template = "{word} is no condition; one is written as {example}."
    return InvalidRequest(template, word=word[:40], example=example)


def _condition(name: str, comparison: str, value: str) -> Condition:
    field = FIELDS.get(name)
    if field is None:
        raise _unknown_field(name)
    if comparison not in field.comparisons:
        template = "{field} can be compared with {comparisons}, not with {comparison}."
        comparisons = " ".join(field.comparisons)
        raise InvalidRequest(template, field=name, comparisons=comparisons, comparison=comparison)
    return Condition(name, comparison, list(_values(field, value)))


def _unknown_field(name: str) -> InvalidRequest:
    parts = [known for known in FIELDS if len(name) >= LEAST_PART and name in known]
    meant = parts or get_close_matches(name, FIELDS, n=1)
    if meant:
        template = 'There is no field "{field}". Did you mean {meant}?'
        return InvalidRequest(template, field=name[:40], meant=meant[0])
    template = 'There is no field "{field}". The fields are {names}.'
    return InvalidRequest(template, field=name[:40], names=", ".join(FIELDS))


def _values(field: QueryField, text: str) -> Sequence[Value]:
    is_quoted = text.startswith('"')
    plain = text.strip('"')
    if field.is_number:
        return [_finite(field, plain)]
    if field.is_day:
        return _span(field, plain)
    values = [plain]
    if field.name in LISTED and not is_quoted:
        values = [each for each in plain.split(",") if each]
    if field.name in ("ticker", "rule"):
        values = [value.upper() for value in values]
    if field.choices:
        values = [value.lower() for value in values]
    if not values or not all(values):
        raise _wrong(field, text)
    if field.choices and not set(values) <= set(field.choices):
        template = "{field} must be one of {names}; got {value}."
        names = ", ".join(field.choices)
        raise InvalidRequest(template, field=field.name, names=names, value=plain[:40])
    return values


def _wrong(field: QueryField, text: str) -> InvalidRequest:
    template = "{field} must be something like {example}; got {value}."
    return InvalidRequest(template, field=field.name, example=field.example, value=text[:40])


def _finite(field: QueryField, text: str) -> float:
    plain = text.removesuffix("%")
    number = float(plain) if NUMBER.fullmatch(plain) else math.nan
    if not math.isfinite(number):
        raise _wrong(field, text)
    return number


def _span(field: QueryField, text: str) -> Sequence[Value]:
    """The day as the columns of dates have it; of the request the moments that it is between."""
    try:
        if DAY.fullmatch(text) is None:
            raise ValueError
        day = date.fromisoformat(text)
        next_day = day + timedelta(days=1)
    except (ValueError, OverflowError):
        raise _wrong(field, text) from None
    if field.name != "asked":
        return [text]
    midnight = datetime.min.time()
    return [datetime.combine(day, midnight), datetime.combine(next_day, midnight)]


def checked_sort(sort: str) -> str:
    """What runs are sorted by; raises InvalidRequest."""
    if sort.removeprefix("-") not in SORTED:
        template = "{field} must be one of {names}; got {value}."
        names = ", ".join(SORTED)
        raise InvalidRequest(template, field="sort", names=names, value=sort[:40])
    return sort
