"""The JSON Schemas of /openapi.json: the frozen contracts, and those of the web's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.base_rule import CompositeRule
from service.contract import batch, fetch, request, result, sweep, sweep_result
from service.contract.documents import schema
from service.contract.status import KINDS, Status
from service.usecases.marks import MAX_NOTE_CHARACTERS, MAX_RUNS_AT_ONCE

TEXT = {"type": "string"}
DATE = {**TEXT, "format": "date"}
DATE_OR_NONE = {"type": ["string", "null"], "format": "date"}
ADDRESS = {**TEXT, "format": "uri-reference"}
NUMBER = {"type": "number"}
NUMBER_OR_NONE = {"type": ["number", "null"]}
TEXT_OR_NONE = {"type": ["string", "null"]}
TEXTS = {"type": "array", "items": TEXT}
STATUS = {"enum": [str(status) for status in Status]}
RUN_ID = {"type": "string", "pattern": schema(request.SCHEMA)["properties"]["run_id"]["pattern"]}
COUNT = {"type": "integer", "minimum": 0}
NUMBERS = {"type": "array", "items": {"type": ["number", "null"]}}
WHOLE_NUMBER_TEXT = {**TEXT, "pattern": "^[0-9]{1,9}$"}


def _contract(name: str, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """A frozen schema without the keys that only a file of its own needs."""
    frozen = schema(name)
    kept = {key: value for key, value in frozen.items() if key not in ("$schema", "$id", "version")}
    return {**kept, "required": [field for field in frozen["required"] if field not in optional]}


def _object(**properties: Any) -> dict[str, Any]:
    """An object with exactly these fields."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


def _list(**properties: Any) -> dict[str, Any]:
    """A list of objects with exactly these fields."""
    return {"type": "array", "items": _object(**properties)}


RUNS = _list(
    run_id=RUN_ID,
    ticker=TEXT,
    rule_id=TEXT,
    status=STATUS,
    reason=TEXT_OR_NONE,
    start_date=DATE_OR_NONE,
    end_date=DATE_OR_NONE,
    costs_pct={
        **NUMBER_OR_NONE,
        "description": "commission and slippage of a trade, in percent of its value",
    },
    total_return_pct=NUMBER_OR_NONE,
    buy_and_hold_return_pct=NUMBER_OR_NONE,
    excess_pct={**NUMBER_OR_NONE, "description": "percentage points beyond holding"},
    sharpe_ratio=NUMBER_OR_NONE,
    max_drawdown_pct=NUMBER_OR_NONE,
    num_trades={"type": ["integer", "null"]},
    created_at={
        "type": ["string", "null"],
        "format": "date-time",
        "description": "null, like other fields, where the row of the run cannot be read (BadRow)",
    },
    kind={
        "enum": list(KINDS),
        "description": "the numbers of a sweep are those of its best combination",
    },
    batch_id=TEXT_OR_NONE,
    star={"type": "boolean"},
    tags=TEXTS,
    note=TEXT,
)
FORM = {
    "type": "object",
    "description": (
        "The fields of Request as texts (params as JSON), or those of the dashboard's form."
    ),
    "additionalProperties": TEXT,
}
CELL = {
    "type": "object",
    "description": "A row of the table, counted from 0, or a point of the figure in its pixels.",
    "anyOf": [{"required": ["row"]}, {"required": ["at.x", "at.y"]}],
    "properties": dict.fromkeys(("row", "at.x", "at.y"), WHOLE_NUMBER_TEXT),
    "additionalProperties": TEXT,
}
ACCEPTED = _object(
    run_id=RUN_ID,
    status=STATUS,
    reused_from=TEXT_OR_NONE,
    status_url=ADDRESS,
    result_url=ADDRESS,
)
PAGE_OF_RUNS = _object(
    runs=RUNS,
    count={**COUNT, "description": "of the runs on all pages, counted to 5,000"},
    previous={**TEXT_OR_NONE, "description": "the address of the page before; null on the first"},
    next={**TEXT_OR_NONE, "description": "the address of the next page; null on the last"},
)
VERSION = {**COUNT, "maximum": 10**9, "description": "of the note; raised by every change"}
MARKS = _object(star={"type": "boolean"}, tags=TEXTS, note=TEXT, version=VERSION)
NEW_MARKS = {
    **MARKS,
    "required": [],
    "properties": {**MARKS["properties"], "note": {**TEXT, "maxLength": MAX_NOTE_CHARACTERS}},
}
MARKS_FORM = {
    "type": "object",
    "properties": {
        "star": {"enum": ["yes", "no"]},
        "tags": {**TEXT, "description": "separated by spaces or commas"},
        "shown_tags": {**TEXT, "description": "those that the page showed"},
        "note": TEXT,
        "version": WHOLE_NUMBER_TEXT,
    },
}
COMPARISON = _object(
    runs=RUNS,
    metrics={"type": "object", "description": "by run_id, those of completed runs"},
    differences={
        "type": "object",
        "description": "the fields of the requests that differ, with a value for each run",
    },
    first_day={**TEXT_OR_NONE, "description": "of the common period"},
    last_day=TEXT_OR_NONE,
    correlation={
        "description": "of the daily returns of the completed runs",
        "anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "array"}}],
    },
    shared_days=COUNT,
)
CELLS = _object(
    ticker=TEXT,
    first_row={**COUNT, "description": "the number of the first row in table.csv"},
    parameters=_list(name=TEXT, values=NUMBERS),
    metrics={"type": "object", "additionalProperties": NUMBERS},
)
ACTION = {"enum": ["star", "unstar", "tag", "untag", "cancel", "delete"]}
TAG = {**TEXT, "description": "one or several, for the actions tag and untag"}
BULK = {
    "type": "object",
    "additionalProperties": False,
    "required": ["runs", "action"],
    "properties": {
        "runs": {"type": "array", "items": RUN_ID, "minItems": 1, "maxItems": MAX_RUNS_AT_ONCE},
        "action": ACTION,
        "tag": TAG,
    },
}
BULK_FORM = {
    "type": "object",
    "required": ["run", "action"],
    "properties": {
        "run": {"type": "array", "items": RUN_ID},
        "action": ACTION,
        "tag": TAG,
        "confirmed": {"enum": ["yes"]},
    },
}
PARAMETERS = _list(
    name=TEXT,
    type={"enum": ["integer", "number"]},
    default=NUMBER,
    low=NUMBER,
    high=NUMBER,
    meaning=TEXT,
)
RULES = _object(
    rules=_list(
        name=TEXT,
        rule_id=TEXT,
        summary=TEXT,
        source=TEXT,
        ascending={
            "type": "array",
            "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
            "description": "pairs of parameters of which the first must be below the second",
        },
        parameters=PARAMETERS,
    ),
    combinations=_object(
        modes={"const": list(CompositeRule.MODES)},
        most_rules={"const": CompositeRule.MAX_MEMBERS},
        example=TEXT,
    ),
)
TICKER: Mapping[str, Any] = {
    "ticker": TEXT,
    "first_day": DATE,
    "last_day": DATE,
    "bars": {"type": "integer", "minimum": 1},
    "source": TEXT,
    "prices_fingerprint": TEXT,
    "names": {**TEXTS, "description": "as people call it: 삼성전자 for 005930"},
}
TICKERS = _object(tickers=_list(**TICKER))
FINDINGS = _list(severity={"enum": ["error", "warning"]}, code=TEXT, day=TEXT_OR_NONE, message=TEXT)
ACTIONS = _list(
    day=DATE,
    dividend={**NUMBER, "description": "for each share, 0 for none"},
    split={**NUMBER, "description": "new shares for one old share, 0 for none"},
)
PRICE_VERSION: Mapping[str, Any] = {
    **{name: schema for name, schema in TICKER.items() if name not in ("ticker", "names")},
    "stored_at": {"type": "string", "format": "date-time"},
    "client": {**TEXT, "description": "who stored it, empty where nobody has a name"},
    "runs": {**COUNT, "description": "that refer to these prices"},
}
PRICES = _object(
    **TICKER,
    findings=FINDINGS,
    missing_sessions={
        "type": ["integer", "null"],
        "description": "of the New York Stock Exchange; null where bars follow another calendar",
    },
    actions=ACTIONS,
    versions={**_list(**PRICE_VERSION), "description": "prices that the ticker has and had"},
)
PRICE_REPORT = _object(
    name={**TEXT, "description": "of the file"},
    ticker=TEXT,
    stored={"type": "boolean"},
    error={**TEXT_OR_NONE, "description": "why it is not stored"},
    code=TEXT_OR_NONE,
    notes={**TEXTS, "description": "what was recognised in the file, and changed"},
    findings=FINDINGS,
    first_day=DATE_OR_NONE,
    last_day=DATE_OR_NONE,
    bars=COUNT,
    prices_fingerprint=TEXT_OR_NONE,
)
PRICE_FILES = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "ticker": {**TEXT, "description": "of one file; else the name of each is its ticker"},
        "action": {"enum": ["store", "check"], "default": "store"},
    },
}
FETCH_FORM = {
    "type": "object",
    "required": ["tickers"],
    "properties": {
        "tickers": {**TEXT, "description": "one or several, with spaces or commas"},
        "vendor": TEXT,
        "start_date": TEXT,
        "end_date": TEXT,
    },
}
FETCH_RESULT = _object(
    run_id=RUN_ID,
    status=TEXT,
    ticker=TEXT,
    vendor=TEXT,
    prices_fingerprint=TEXT_OR_NONE,
    first_day=DATE_OR_NONE,
    last_day=DATE_OR_NONE,
    bars=COUNT,
    is_new={"type": "boolean", "description": "the prices differ from those before"},
    findings={**COUNT, "description": "of the data gate"},
    dividends=COUNT,
    splits=COUNT,
    notes={**_list(template=TEXT, values={"type": "object"}), "description": "what was changed"},
    error_code=TEXT_OR_NONE,
    error_message=TEXT_OR_NONE,
    provenance={"type": "object"},
)
FORWARD = _object(
    run_id=RUN_ID,
    ticker=TEXT,
    rule_id=TEXT,
    record={
        "type": ["object", "null"],
        "description": (
            "of the bars after those that existed when the run was asked for; null until there are "
            "newer prices. `bars` is how many there are, `problem` why it cannot go on"
        ),
        "required": ["bars"],
        "properties": {
            "bars": COUNT,
            "problem": TEXT,
            "template": {**TEXT, "description": "of the problem, with the names of its values"},
            "values": {"type": "object"},
            "asked_until": DATE_OR_NONE,
            "first_bar": DATE_OR_NONE,
            "last_bar": DATE_OR_NONE,
            "equity_before": NUMBER,
            "equity_now": NUMBER,
            "return_pct": NUMBER_OR_NONE,
            "holding_pct": NUMBER_OR_NONE,
            "sharpe_ratio": NUMBER_OR_NONE,
            "low_pct": NUMBER_OR_NONE,
            "high_pct": NUMBER_OR_NONE,
            "is_inside": {"type": ["boolean", "null"]},
            "is_same_past": {"type": "boolean"},
            "is_same_rule": {"type": "boolean"},
        },
        "additionalProperties": False,
    },
)
PROBABILITY_OR_NONE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
TRIES = _object(
    ticker=TEXT,
    number={**COUNT, "description": "of the tries, those made once this result was there"},
    tries={**COUNT, "description": "distinct rules, numbers and terms on the ticker until now"},
    is_exact={"type": "boolean", "description": "false: the counts are estimates"},
    groups={**COUNT, "description": "of tries whose timing is alike"},
    effective_tries={**NUMBER, "description": "with nothing in common bring as much luck"},
    years=NUMBER,
    needed_years={
        **NUMBER,
        "description": "in fewer, the best is expected to show a Sharpe ratio of 1 by luck",
    },
    sharpe_ratio=NUMBER_OR_NONE,
    sharpe_ratio_of_luck=NUMBER_OR_NONE,
    sharpe_ratio_left=_object(bonferroni=NUMBER_OR_NONE, holm=NUMBER_OR_NONE, bhy=NUMBER_OR_NONE),
    probabilistic_sharpe_ratio=PROBABILITY_OR_NONE,
    deflated_sharpe_ratio=PROBABILITY_OR_NONE,
    timing_probability=PROBABILITY_OR_NONE,
)
COUNTS = {"type": "array", "items": COUNT}
POINT = {"type": ["integer", "null"], "minimum": 0, "description": "the number of a point"}
CHART = _object(
    bars=COUNT,
    first=COUNT,
    end=COUNT,
    is_thinned={"type": "boolean", "description": "a point may stand for several bars"},
    has_times={"type": "boolean", "description": "bars are shorter than a day"},
    time={
        "type": "array",
        "items": {"type": "integer"},
        "description": "seconds since 1970 by the exchange's clock",
    },
    bar=COUNTS,
    equity=NUMBERS,
    holding=NUMBERS,
    drawdown=NUMBERS,
    position=NUMBERS,
    lines=_list(name=TEXT, scale=TEXT, values=NUMBERS),
    trade_count=COUNT,
    trades=_list(number=COUNT, entry=POINT, exit=POINT, side=TEXT, return_pct=NUMBER),
)
# Where the prices of a run are gone, these are not there.
CHART["properties"] |= dict.fromkeys(("open", "high", "low", "close"), NUMBERS)
READY = _object(status={"enum": ["ok", "unavailable"]}, missing=TEXTS, warnings=TEXTS)
ERROR = _object(
    error={**TEXT, "description": "one sentence"},
    code={**TEXT, "description": "for programs"},
    run_id=TEXT_OR_NONE,
)

SCHEMAS: Mapping[str, Any] = {
    "Request": _contract(request.SCHEMA, optional=("run_id",)),
    "Form": FORM,
    "Cell": CELL,
    "Accepted": ACCEPTED,
    "Status": _contract("status.v1"),
    "Result": _contract(result.SCHEMA),
    "Runs": PAGE_OF_RUNS,
    "Bulk": BULK,
    "BulkForm": BULK_FORM,
    "Comparison": COMPARISON,
    "Changed": _object(changed=COUNT),
    "Marks": MARKS,
    "NewMarks": NEW_MARKS,
    "MarksForm": MARKS_FORM,
    "BatchRequest": _contract(batch.SCHEMA, optional=("batch_id",)),
    "Batch": _object(batch_id=RUN_ID, url=ADDRESS, runs=RUNS),
    "SweepRequest": _contract(sweep.SCHEMA, optional=("run_id",)),
    "SweepResult": _contract(sweep_result.SCHEMA),
    "FetchRequest": _contract(fetch.SCHEMA, optional=("run_id", "start_date", "end_date")),
    "FetchForm": FETCH_FORM,
    "FetchResult": FETCH_RESULT,
    "Cells": CELLS,
    "Tries": _object(tries={"type": "array", "items": TRIES}),
    "Forward": _object(records={"type": "array", "items": FORWARD}),
    "Estimate": _object(
        combinations=COUNT, skipped=COUNT, tickers=COUNT, core_seconds=NUMBER, sentence=TEXT
    ),
    "Sweeps": _object(runs=RUNS),
    "Rules": RULES,
    "Tickers": TICKERS,
    "Prices": PRICES,
    "PriceReport": PRICE_REPORT,
    "PriceReports": _object(files={"type": "array", "items": PRICE_REPORT}),
    "PriceFiles": PRICE_FILES,
    "Chart": CHART,
    "Health": _object(status={"const": "ok"}),
    "Ready": READY,
    "Error": ERROR,
}
