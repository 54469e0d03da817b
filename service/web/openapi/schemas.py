"""The JSON Schemas of /openapi.json: the frozen contracts, and what only the web answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rules.base_rule import CompositeRule
from service.contract import request, result, sweep, sweep_result
from service.contract.documents import schema
from service.contract.status import BACKTEST, SWEEP, Status

TEXT = {"type": "string"}
NUMBER_OR_NONE = {"type": ["number", "null"]}
TEXT_OR_NONE = {"type": ["string", "null"]}
STATUS = {"enum": [str(status) for status in Status]}
RUN_ID = {"type": "string", "pattern": schema(request.SCHEMA)["properties"]["run_id"]["pattern"]}


def _contract(name: str, *, optional: tuple[str, ...] = ()) -> dict[str, Any]:
    """A frozen schema without what stands only in a file of its own."""
    frozen = schema(name)
    kept = {key: value for key, value in frozen.items() if key not in ("$schema", "$id", "version")}
    return {**kept, "required": [field for field in frozen["required"] if field not in optional]}


def _object(**properties: Any) -> dict[str, Any]:
    """An object with these fields, all of them and no others."""
    return {
        "type": "object", "additionalProperties": False, "required": list(properties), "properties": properties
    }  # fmt: skip


def _list(**properties: Any) -> dict[str, Any]:
    return {"type": "array", "items": _object(**properties)}


RUNS = _list(
    run_id=RUN_ID, ticker=TEXT, rule_id=TEXT, status=STATUS, reason=TEXT_OR_NONE,
    total_return_pct=NUMBER_OR_NONE, sharpe_ratio=NUMBER_OR_NONE, max_drawdown_pct=NUMBER_OR_NONE,
    num_trades={"type": ["integer", "null"]}, created_at={**TEXT, "format": "date-time"},
    kind={"enum": [BACKTEST, SWEEP], "description": "the numbers of a sweep are those of its best combination"},
)  # fmt: skip

SCHEMAS: Mapping[str, Any] = {
    "Request": _contract(request.SCHEMA, optional=("run_id",)),
    "Form": {
        "type": "object",
        "description": "The fields of Request as texts (params as JSON), or those of the dashboard's form.",
        "additionalProperties": TEXT,
    },
    "Cell": {
        "type": "object",
        "description": "A row of the table, counted from 0, or a point of the figure in its pixels.",
        "anyOf": [{"required": ["row"]}, {"required": ["at.x", "at.y"]}],
        "properties": {name: {**TEXT, "pattern": "^[0-9]{1,9}$"} for name in ("row", "at.x", "at.y")},
        "additionalProperties": TEXT,
    },
    "Accepted": _object(
        run_id=RUN_ID, status=STATUS, reused_from=TEXT_OR_NONE, status_url={**TEXT, "format": "uri-reference"},
        result_url={**TEXT, "format": "uri-reference"},
    ),
    "Status": _contract("status.v1"),
    "Result": _contract(result.SCHEMA),
    "Runs": _object(
        runs=RUNS,
        next={**TEXT_OR_NONE, "description": "the address of the next page; null on the last"},
    ),
    "SweepRequest": _contract(sweep.SCHEMA, optional=("run_id",)),
    "SweepResult": _contract(sweep_result.SCHEMA),
    "Sweeps": _object(runs=RUNS),
    "Rules": _object(
        rules=_list(
            name=TEXT, rule_id=TEXT, summary=TEXT, source=TEXT,
            ascending={
                "type": "array", "items": {"type": "array", "items": TEXT, "minItems": 2, "maxItems": 2},
                "description": "pairs of parameters of which the first must be below the second",
            },
            parameters=_list(
                name=TEXT, type={"enum": ["integer", "number"]}, default={"type": "number"}, low={"type": "number"},
                high={"type": "number"}, meaning=TEXT,
            ),
        ),
        combinations=_object(
            modes={"const": list(CompositeRule.MODES)}, most_rules={"const": CompositeRule.MAX_MEMBERS}, example=TEXT
        ),
    ),
    "Tickers": _object(
        tickers=_list(
            ticker=TEXT, first_day={**TEXT, "format": "date"}, last_day={**TEXT, "format": "date"},
            bars={"type": "integer", "minimum": 1}, source=TEXT, prices_fingerprint=TEXT,
        )
    ),
    "Health": _object(status={"const": "ok"}),
    "Ready": _object(
        status={"enum": ["ok", "unavailable"]}, missing={"type": "array", "items": TEXT},
        warnings={"type": "array", "items": TEXT},
    ),
    "Error": _object(
        error={**TEXT, "description": "one sentence"}, code={**TEXT, "description": "for programs"},
        run_id=TEXT_OR_NONE,
    ),
}  # fmt: skip
