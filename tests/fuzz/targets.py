"""What strangers may send, as bytes: it is taken or refused with a sentence, and nothing else.

Each target takes any bytes. It raises what `tests.fuzz` and `test_targets` call a crash.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pandas as pd

from rules.base_rule import BaseRule, InvalidRule
from rules.optimizer import grid
from rules.registry import BUILT_IN
from service.contract.batch import parse_batch
from service.contract.documents import canonical_json, schema
from service.contract.errors import UserError
from service.contract.request import parse_request
from service.contract.sweep import parse_sweep
from service.engine.adapter import rule_of
from service.prices.checks import check_prices
from service.prices.files.reading import read_prices
from service.prices.series import UnreadablePrices, series_from_content
from service.usecases.run_query import conditions_of
from service.web.forms.sweep_table import page_of
from tests.support.requests import REQUEST, RUN_ID, SWEEP

MOST_COMBINATIONS = 1000
BATCH = {
    "batch_id": RUN_ID,
    "tickers": ["GOOG", "SPY"],
    "rules": ["RSI", {"rule_id": "MA_CROSS", "params": {"fast": 5}}],
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}
CSV = "Date,Open,High,Low,Close,Volume\n2020-01-02,1,2,0.5,1.5,100\n2020-01-03,1,2,0.5,1.5,100\n"
KINDS = ("request.v1", "sweep.v1", "batch.v1")
NUMBERS = ("0", "-1", "1e308", "1e-308", "1e999", "nan", "inf", "0.1", "9" * 30, "1_0", "０", "½")


@dataclass(frozen=True)
class Target:
    """`seeds` are inputs to begin from, `words` are worth putting into others."""

    run: Callable[[bytes], None]
    seeds: Sequence[str]
    words: Sequence[str] = ()


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _rule_id(data: bytes) -> None:
    try:
        rule = rule_of(_text(data), {}, validate=False)
    except UserError as error:
        assert str(error)
        return
    again = rule_of(rule.rule_id, {}, validate=False)
    assert again.rule_id == rule.rule_id, "its own name is that of another rule"
    assert rule.warm_up >= 0


def _rule_and_values(data: bytes) -> tuple[type[BaseRule], dict[str, Any]]:
    """A letter for the rule, and a line for each of its parameters: JSON, or else a text."""
    rules = list(BUILT_IN.values())
    rule = rules[data[0] % len(rules)] if data else rules[0]
    lines = _text(data[1:]).split("\n")
    names = [parameter.name for parameter in rule.metadata.parameters]
    values = {name: _value(line) for name, line in zip(names, lines, strict=False) if line}
    return rule, values


def _params(data: bytes) -> None:
    rule, params = _rule_and_values(data)
    try:
        named = rule_of(rule.metadata.name, params, validate=False)
    except UserError as error:
        assert str(error)
        return
    assert rule_of(named.rule_id, {}, validate=False).rule_id == named.rule_id


def _grid(data: bytes) -> None:
    rule, asked = _rule_and_values(data)
    try:
        found = grid(rule, asked, MOST_COMBINATIONS)
    except InvalidRule as error:
        assert str(error)
        return
    assert 1 <= len(found) <= MOST_COMBINATIONS
    for row in (0, len(found) - 1):
        assert found.rule_at(row).warm_up >= 0
    assert (found.needed >= 0).all()


def _where(data: bytes) -> None:
    """A line with the order, and the conditions."""
    sort, _, where = _text(data).partition("\n")
    try:
        page = page_of(_table(), "GOOG", where, sort, 1)
    except UserError as error:
        assert str(error)
        return
    assert page.count <= len(_table())


@cache
def _table() -> pd.DataFrame:
    numbers = {"fast": [5, 10, 20], "sharpe_ratio": [0.5, None, 1.5], "num_trades": [3, 0, 7]}
    return pd.DataFrame({"ticker": "GOOG", **numbers, "note": None})


def _query(data: bytes) -> None:
    try:
        conditions = conditions_of(_text(data))
    except UserError as error:
        assert str(error)
        return
    for condition in conditions:
        assert condition.values


def _request(data: bytes) -> None:
    """A document of each kind: what is taken is the same when it is read again.

    The document is JSON, or a letter for its kind and lines such as `ticker=SPY` that change it.
    """
    text = _text(data)
    document = _json(text) if text.startswith(("{", "[")) else _changed(text)
    for parse in (parse_request, parse_sweep, parse_batch):
        try:
            request: Any = parse(document)
        except UserError as error:
            assert str(error)
            continue
        if parse is parse_batch:
            assert request.digest == parse(document).digest
            for single in request.documents():
                with suppress(UserError):
                    parse_request({"run_id": RUN_ID, **single})
        else:
            canonical = request.canonical()
            assert parse(json.loads(canonical)).canonical() == canonical


def _csv(data: bytes) -> None:
    """What is read has the same content when it is read from the database."""
    try:
        series = read_prices(data, "GOOG", "fuzz.csv").series
    except UnreadablePrices as error:
        assert str(error)
        return
    again = series_from_content(series.content)
    assert again.fingerprint == replace(series).fingerprint
    findings = check_prices(series.data)
    assert all(str(finding) for finding in findings)


def _changed(text: str) -> dict[str, Any]:
    """A valid document with some fields of its own; without those that have no value."""
    document = dict(DOCUMENTS[ord(text[0]) % len(DOCUMENTS)]) if text else {}
    for line in text[1:].split("\n"):
        name, _, value = line.partition("=")
        document[name] = _value(value)
        if not value:
            del document[name]
    return document


def _value(text: str) -> Any:
    """Whatever JSON has there, else the text itself."""
    value = _json(text)
    return text if value is None and text != "null" else value


def _json(text: str) -> Any:
    """None where it is none: the web has refused it before."""
    with suppress(ValueError, RecursionError):
        return json.loads(text)
    return None


def _document(**change: object) -> str:
    return canonical_json({**REQUEST, "run_id": RUN_ID, **change})


DOCUMENTS: Sequence[dict[str, Any]] = (
    {**REQUEST, "run_id": RUN_ID},
    {**SWEEP, "run_id": RUN_ID},
    BATCH,
)
NAMES = sorted({name for kind in KINDS for name in schema(kind)["properties"]})
TARGETS = {
    "rule_id": Target(
        _rule_id,
        ["MA_CROSS_10_30", "RSI_14_30_70", "BB_20_2.5", "ALL(RSI_14_30_70,MA_CROSS)", "ANY(A,B)"],
        [*BUILT_IN, "ALL(", "ANY(", "MAJORITY(", ")", ",", "_", *NUMBERS],
    ),
    "params": Target(
        _params,
        ["a10\n30", "b14\n30\n70", "c2.5\n20", "d\n\n1", "e[1]", 'f"1"'],
        ["\n", "true", "null", "[", "{}", *NUMBERS],
    ),
    "grid": Target(
        _grid,
        ["a5:25:5\n[10,30]", "b2:50:x1.1\n30,20", "c0.5:3:0.1", "d5,10,20\n\n7", "e\n[1.5]"],
        ["\n", ":x", ":", ",", "[", "]", *NUMBERS],
    ),
    "where": Target(
        _where,
        ["-sharpe_ratio\nfast>=10 sharpe_ratio>0.5", "fast\n", "num_trades\nfast<1,fast=2"],
        ["fast", "sharpe_ratio", "num_trades", "note", "ticker", ">=", "!=", *NUMBERS],
    ),
    "query": Target(
        _query,
        ["ticker=GOOG rule=RSI sharpe_ratio>0.8", "asked>2026-11-01 tag=idea star", 'tag="a b"'],
        ["ticker", "rule", "asked", "tag", "star", "note", "status", "!=", "~", '"', *NUMBERS],
    ),
    "request": Target(
        _request,
        [
            _document(),
            _document(params={"fast": 5}, rule_id="MA_CROSS", lot_size=0.1),
            canonical_json({**SWEEP, "run_id": RUN_ID}),
            canonical_json(BATCH),
            "aticker=SPY\nlot_size=0.1",
            'bgrid={"fast":"5:50:x2"}\ntickers=["A","B"]',
            "cbatch_id=\nrules=[]",
            "ainitial_capital=1e12\nend_date=2013-01-02",
            _document(ticker="\ud800"),
        ],
        [f'"{name}":' for name in NAMES] + [f"\n{name}=" for name in NAMES] + list(NUMBERS),
    ),
    "csv": Target(
        _csv,
        [CSV, CSV.replace("2020-01-03", "2020-01-02"), CSV.replace("1.5", ""), "Date\n1"],
        ["Date", "Datetime", "Volume", "NaN", "\r\n", '"', "9999-12-31", "T00:00Z", *NUMBERS],
    ),
}
