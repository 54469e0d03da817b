"""Warnings in the reader's language: results keep theirs as English sentences."""

from __future__ import annotations

import re
from functools import cache

from service.contract.errors import UserError
from service.contract.fetch import FAILURES
from service.contract.request import is_ticker
from service.contract.sentence import Sentence
from service.web.middleware.texts import text

# The sentences of the data gate and of the engine; what stands in braces differs.
SENTENCES = (
    "{bars} bars are too few for numbers per year: those need {needed}",
    "the prices start later than asked: {day}",
    "the prices end earlier than asked: {day}",
    "the price jumps {text} overnight, as at a split that was not adjusted for",
    "the close is {times} times its neighbours",
    "no bar has a volume; rules that use it cannot work",
    "the volume is 0",
    "the volume is {volume}, usual is {usual}",
    "{count} identical bars in a row: the prices may be stale",
    "{count} identical bars at the end: the prices may be stale",
    "the bars are not daily; they are annualised as 252 a year",
    "the bars are not daily; {count} of them count as a year",
    "no calendar of the NYSE: missing sessions were not looked for",
    "a bar on a day without a session of the NYSE",
    "1 session is missing from {day} on",
    "{count} sessions are missing from {day} on",
    "prices and volume are those of a bar shortly before: a copy?",
    "{count} closes lie on one straight line: interpolated?",
    "the price is {times} times that of the bar before, which no split explains: a crash, another "
    "unit such as pence for pounds, or a mistake",
    "{name} {value} is far from the closes beside it, {before} and {after}",
    "the short position lost more than the capital: closed on {day}, {money} owed beyond it; "
    "equity is 0 from there on",
)
# What the data gate refuses prices for.
ERRORS = (
    "{count} bars; a backtest needs at least 2",
    "the date of row {row} is empty",
    "the date stands there twice",
    "the date is before the one above it",
    "High {high} is below Low {low}",
    "Open {open} or Close {close} is outside Low..High",
)
# What stands in a column that the gate refuses.
FACT_OF_A_COLUMN = "{name} is {value}"
FACT = re.compile(r"(Open|High|Low|Close|Volume) is \S+")
# The columns of prices, whose names the pages have in the reader's language
COLUMNS = ("Open", "High", "Low", "Close", "Volume")


def told(message: str) -> str:
    """The warning in the reader's language; one that is not known stays as it is.

    A warning about a benchmark has its ticker before it.
    """
    ticker, _, rest = message.partition(": ")
    if is_ticker(ticker):
        return f"{ticker}: {_told(rest)}"
    return _told(message)


def _told(message: str) -> str:
    facts = message.split(", ")
    if all(map(FACT.fullmatch, facts)):
        return ", ".join(_told_fact(*fact.split(" is ")) for fact in facts)
    for sentence in (*SENTENCES, *ERRORS, *FAILURES):
        found = _pattern(sentence).fullmatch(message)
        if found:
            values = found.groupdict()
            column = values.get("name")
            if column in COLUMNS:
                values["name"] = text(column)
            return text(sentence).format(**values)
    return message


def said(sentence: Sentence) -> str:
    """The sentence in the reader's language."""
    return text(sentence.template).format(**sentence.values)


def said_refusal(error: UserError) -> str:
    """Why prices are not stored, in the reader's language; what the data gate says of them, too."""
    values = dict(error.values)
    if "message" in values:
        values["message"] = told(str(values["message"]))
    return text(error.template).format(**values)


def _told_fact(column: str, value: str) -> str:
    return text(FACT_OF_A_COLUMN).format(name=text(column), value=value)


@cache
def _pattern(sentence: str) -> re.Pattern[str]:
    parts = re.split(r"\{(\w+)\}", sentence)
    # Names stand at the odd places.
    return re.compile(
        "".join(
            f"(?P<{part}>.+?)" if number % 2 else re.escape(part)
            for number, part in enumerate(parts)
        )
    )
