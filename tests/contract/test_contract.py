"""Contracts: what is accepted, what is refused and how, and that examples keep their schemas."""

from __future__ import annotations

import json
import math
import uuid
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.documents import canonical_json, checker, parse_json, schema
from service.contract.errors import InvalidRequest
from service.contract.request import (
    FIELDS,
    BacktestRequest,
    document_from_text,
    parse_request,
    request_from_text,
    text_from_request,
)
from service.contract.result import BacktestResult, failed_result
from service.contract.status import HINTS, Reason, RunStatus, Status
from tests.support.requests import REQUEST, RUN_ID

DOCUMENT = {"run_id": RUN_ID, **REQUEST}

REQUESTS = st.fixed_dictionaries(
    {
        "run_id": st.uuids(version=4).map(str),
        "ticker": st.from_regex(r"[A-Z0-9^](/?[A-Z0-9]|[.^=&_-]){0,15}", fullmatch=True),
        "rule_id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200),
        "start_date": st.dates(max_value=date(2019, 1, 1)).map(str),
        "end_date": st.dates(min_value=date(2019, 1, 2)).map(str),
    },
    optional={
        "params": st.dictionaries(
            st.text(max_size=40),
            st.floats(-1e15, 1e15) | st.booleans() | st.integers(-99, 99),
            max_size=16,
        ),
        "initial_capital": st.floats(0.01, 1e12) | st.integers(1, 10**12),
        "commission_rate": st.floats(0, 0.1),
        "slippage_rate": st.floats(0, 0.1),
        "lot_size": st.just(0) | st.floats(1e-6, 1e12),
        "allow_short": st.booleans(),
    },
)


@settings(max_examples=200)
@given(REQUESTS)
def test_every_valid_request_survives_all_its_forms(document: dict[str, object]) -> None:
    request = parse_request(document)
    assert parse_request(request.document()) == request
    assert parse_request(json.loads(request.canonical())) == request
    assert checker("request.v1")(request.document()) is None
    if request.rule_id.strip() == request.rule_id and "\0" not in request.rule_id:
        environment = text_from_request(request)
        assert request_from_text({name: environment[name.upper()] for name in FIELDS}) == request


def test_defaults_are_those_of_the_schema() -> None:
    request = parse_request(DOCUMENT)
    declared = {
        name: kind["default"]
        for name, kind in schema("request.v1")["properties"].items()
        if "default" in kind
    }
    assert {name: request.document()[name] for name in declared} == declared
    assert isinstance(request.initial_capital, float)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run_id": "x"}, 'run_id must be a lower-case UUID4; got "x".'),
        ({"run_id": RUN_ID.upper().replace("1", "A")}, "run_id must be a lower-case UUID4"),
        ({"run_id": str(uuid.UUID(int=7))}, "run_id must be a lower-case UUID4"),
        ({"run_id": RUN_ID + "\n"}, "run_id must be a lower-case UUID4"),
        ({"run_id": None}, "run_id must be a lower-case UUID4; got null."),
        ({"ticker": "goog"}, "ticker must be 1 to 32 of A-Z, 0-9"),
        ({"ticker": "GOOG\n"}, "ticker must be"),
        ({"ticker": ""}, "ticker must be"),
        ({"ticker": "A" * 33}, "ticker must be"),
        ({"ticker": "BTC/"}, "ticker must be"),
        ({"ticker": "/USD"}, "ticker must be"),
        ({"ticker": "A/../../B"}, "ticker must be"),
        ({"ticker": "A//B"}, "ticker must be"),
        ({"ticker": "<b>"}, 'got "<b>".'),
        ({"ticker": "A'; DROP TABLE runs; --"}, "ticker must be"),
        ({"rule_id": ""}, "rule_id must be a text of 1 to 200 characters"),
        ({"rule_id": "x" * 201}, "rule_id must be"),
        (
            {"rule_id": 5},
            "rule_id must be a text of 1 to 200 characters, such as MA_CROSS_10_30; got 5.",
        ),
        ({"params": []}, "params must be an object of at most 16 finite numbers"),
        ({"params": {"fast": "10"}}, 'params.fast must be a finite number; got "10".'),
        ({"params": {"fast": math.nan}}, "params.fast must be a finite number; got NaN."),
        ({"params": {"fast": math.inf}}, "params.fast must be a finite number; got Infinity."),
        ({"params": {"fast": 10**400}}, "params.fast must be a finite number; got 1000"),
        ({"params": {str(i): i for i in range(17)}}, "params must be an object of at most 16"),
        ({"params": {"x" * 41: 1}}, "params must be"),
        (
            {"start_date": "2020-02-30"},
            'start_date must be a date such as 2020-01-31; got "2020-02-30".',
        ),
        ({"start_date": "20200131"}, "start_date must be a date"),
        ({"start_date": "2020-1-31"}, "start_date must be a date"),
        ({"start_date": "2020-01-31T00:00"}, "start_date must be a date"),
        ({"end_date": 20200131}, "end_date must be a date such as 2020-01-31; got 20200131."),
        ({"end_date": "\u0662\u0660\u0662\u0660-01-01"}, "end_date must be a date"),
        (
            {"start_date": "2020-02-08"},
            "start_date must be before end_date, got 2020-02-08 and 2020-02-07.",
        ),
        ({"start_date": "2020-02-07"}, "start_date must be before end_date"),
        (
            {"initial_capital": 0},
            "initial_capital must be a number from 0.01 to 1000000000000; got 0.",
        ),
        ({"initial_capital": -5}, "got -5."),
        ({"initial_capital": 1e13}, "initial_capital must be"),
        ({"initial_capital": math.inf}, "got Infinity."),
        ({"initial_capital": math.nan}, "got NaN."),
        ({"initial_capital": "100000"}, 'got "100000".'),
        ({"initial_capital": True}, "got true."),
        ({"initial_capital": None}, "got null."),
        ({"commission_rate": 0.11}, "commission_rate must be a fraction from 0 to 0.1"),
        ({"slippage_rate": -0.01}, "slippage_rate must be a fraction from 0 to 0.1"),
        ({"lot_size": -1}, "lot_size must be a number of shares"),
        ({"lot_size": 1e-310}, "lot_size must be a number of shares"),
        ({"lot_size": math.inf}, "lot_size must be a number of shares"),
        ({"initial_capital": 5e-324}, "initial_capital must be"),
        ({"allow_short": "yes"}, "allow_short must be true or false"),
        ({"allow_short": 1}, "allow_short must be true or false; got 1."),
        ({"tickr": "GOOG"}, 'There is no field "tickr". Did you mean ticker?'),
        ({"zzz": 1}, 'There is no field "zzz". The fields are run_id, ticker,'),
    ],
)
def test_a_refusal_names_the_field_and_says_what_it_must_be(
    change: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse_request({**DOCUMENT, **change})
    assert sentence in str(refused.value)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("name", ["ticker", "rule_id", "start_date", "end_date", "run_id"])
def test_missing_fields_are_named(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{name} is missing.$"):
        parse_request({key: value for key, value in DOCUMENT.items() if key != name})


@pytest.mark.parametrize("document", [None, [], "text", 5, [DOCUMENT]])
def test_only_objects_are_requests(document: object) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        parse_request(document)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=400)
@given(JSON, st.sampled_from(FIELDS))
def test_any_json_is_accepted_or_refused_with_one_sentence(value: object, name: str) -> None:
    for document in (value, {**DOCUMENT, name: value}):
        try:
            parse_request(document)
        except InvalidRequest as error:
            assert 0 < len(str(error)) < 400


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1, "a": 2}',
        "[" * 60_000,
        '{"a": ' + "9" * 5000 + "}",
        b"\xff\xfe{",
    ],
)
def test_malformed_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest, match="not valid JSON"):
        parse_json(text)


def test_texts_become_the_types_of_the_schema() -> None:
    fields = {
        "initial_capital": " 5 ",
        "allow_short": "on",
        "params": '{"fast": 3}',
        "ticker": " GOOG ",
        "lot_size": "",
    }
    assert document_from_text(fields) == {
        "initial_capital": 5.0,
        "allow_short": True,
        "params": {"fast": 3},
        "ticker": "GOOG",
    }
    wrong = {
        "initial_capital": "much",
        "allow_short": "perhaps",
        "params": "{",
        "lot_size": "1e999",
    }
    assert document_from_text(wrong) == {**wrong, "lot_size": math.inf}


def test_canonical_json_is_one_text() -> None:
    assert canonical_json({"b": 1, "a": [1.0, None, "é"]}) == '{"a":[1.0,null,"é"],"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": math.nan})


def test_a_result_that_breaks_its_contract_is_not_written() -> None:
    with pytest.raises(ValueError, match="breaks its contract"):
        BacktestResult(run_id="x", status="done").document()
    with pytest.raises(ValueError, match="breaks its contract"):
        BacktestResult(run_id="x", status="completed", trades=[{"pnl": 1.0}]).document()


def test_a_failed_result_has_no_numbers() -> None:
    document = failed_result(RUN_ID, "NoData", "No prices.").document()
    empty = {name for name, value in document.items() if value in (None, {}, [])}
    assert empty == set(document) - {"run_id", "status", "error_code", "error_message"}


def test_the_figure_travels_as_a_data_url() -> None:
    result = BacktestResult(run_id=RUN_ID, status="completed")
    assert result.with_figure(None) is result
    assert result.with_figure(b"png").chart_base64 == "data:image/png;base64,cG5n"


def test_reproducible_text_leaves_out_what_may_differ() -> None:
    first = BacktestResult(
        "a", "completed", provenance={"image": "x", "code_revision": "1", "bars": 3}
    )
    other_software = BacktestResult(
        "b", "completed", provenance={"image": "y", "code_revision": "2", "bars": 3}
    )
    other_bars = BacktestResult(
        "b", "completed", provenance={"image": "y", "code_revision": "2", "bars": 4}
    )
    assert first.reproducible() == other_software.reproducible() != other_bars.reproducible()


def test_status_keeps_its_schema() -> None:
    for status in Status:
        assert checker("status.v1")(RunStatus(RUN_ID, status).document()) is None
    assert set(schema("status.v1")["properties"]) == set(RunStatus(RUN_ID, "pending").document())
    assert {status for status in Status if status.final} == {"completed", "failed", "cancelled"}


def test_every_reason_has_a_hint() -> None:
    assert set(HINTS) == set(Reason)


@pytest.mark.parametrize("name", ["request.v1", "result.v1", "status.v1"])
def test_schemas_name_themselves_and_refuse_other_fields(name: str) -> None:
    document = schema(name)
    assert document["$id"] == f"urn:stock-backtest:{name.replace('.', ':')}"
    assert document["version"] == 1
    assert document["additionalProperties"] is False


def test_result_fields_are_those_of_the_schema() -> None:
    assert set(schema("result.v1")["properties"]) == set(BacktestResult("a", "failed").document())
    assert set(schema("request.v1")["properties"]) == set(parse_request(DOCUMENT).document())
    assert BacktestRequest.__dataclass_fields__.keys() == set(FIELDS)
