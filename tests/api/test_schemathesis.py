"""Schemathesis sends thousands of requests, made from /openapi.json, and checks every answer.

The requests are the same ones each time.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import schemathesis
from flask import Flask
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from schemathesis.engine.recorder import CheckNode
from werkzeug.serving import make_server

from scripts.config import Config
from service.store.database import connect
from service.store.migrate import migrate, schema_problem
from service.store.prices import PriceStore
from service.usecases.runs import Runs
from service.web.factory import create_app
from service.web.middleware.auth import Login
from service.web.services import services_of
from tests.support.logins import BASIC, PASSWORD, basic
from tests.support.prices import series
from tests.support.requests import RUN_ID, SWEEP
from tests.support.stores import EveryStore
from tests.support.web import completed, swept

pytestmark = pytest.mark.api

# What no JSON Schema can say is refused with 400: a ticker without prices, a rule that does not
# exist, dates the wrong way round. A form is answered with a redirection.
ACCEPTED = ["2xx", "303", "304", "404", "409"]
EXAMPLES = int(os.environ.get("API_EXAMPLES", "200"))  # for each operation and phase
SEED = 20261124
SWEEP_ID = f"{RUN_ID[:-1]}f"


@contextmanager
def application(path: Path, login: Login) -> Iterator[Flask]:
    database = connect(Config(sqlite_path=str(path / "api.sqlite3")))
    migrate(database)
    for ticker in ("GOOG", "SPY"):
        PriceStore(database).save(series(ticker))
    runs = Runs(EveryStore(database), PriceStore(database), max_pending=10**9)
    client = create_app(runs, str).test_client()
    completed(client, runs, run_id=RUN_ID)
    swept(client, runs, run_id=SWEEP_ID)
    vendors = ["yahoo", "krx"]
    app = create_app(runs, partial(schema_problem, database), login=login, price_vendors=vendors)
    # Nothing happens to a run here: who waits for news is answered at once, as by a web that stops.
    services_of(app).watch.stop_when(lambda: True)
    yield app
    database.dispose()


@contextmanager
def served(app: Flask) -> Iterator[str]:
    """Serves the application over HTTP.

    Within the process, Schemathesis 4.32 fails at its own check of logins.
    """
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def settings(headers: dict[str, str], accepted: list[str], **more: Any) -> SchemathesisConfig:
    checks = {"positive_data_acceptance": {"expected-statuses": accepted}}
    generation = {"max-examples": EXAMPLES, "deterministic": True, "database": "none"}
    document = {
        "seed": SEED,
        "continue-on-failure": True,
        "checks": checks,
        "generation": generation,
        "headers": headers,
    }
    return SchemathesisConfig.from_dict({**document, **more})


@contextmanager
def described(
    app: Flask,
    headers: dict[str, str],
    accepted: list[str],
    change: Callable[[Any], None] = lambda _: None,
) -> Iterator[schemathesis.BaseSchema]:
    document = app.test_client().get("/openapi.json", headers=headers).json
    assert isinstance(document, dict)
    change(document)
    if not headers:
        inside = schemathesis.openapi.from_dict(document, config=settings(headers, accepted))
        inside.app = app
        yield inside
        return
    with served(app) as address:
        config = settings(headers, accepted, **{"base-url": address})
        yield schemathesis.openapi.from_dict(document, config=config)


def findings(schema: schemathesis.BaseSchema) -> tuple[Counter[int], set[str]]:
    """How often each status was answered, and what is wrong with the answers."""
    statuses: Counter[int] = Counter()
    faults = set()
    for event in engine.from_schema(schema).execute():
        if isinstance(event, events.NonFatalError | events.FatalError):
            faults.add(f"{event}")
        if isinstance(event, events.ScenarioFinished):
            answers = [interaction.response for interaction in event.recorder.interactions.values()]
            statuses.update(answer.status_code for answer in answers if answer is not None)
            for checks in event.recorder.checks.values():
                faults |= {text(event, check) for check in checks if check.failure_info is not None}
    return statuses, faults


def text(event: events.ScenarioFinished, check: CheckNode) -> str:
    failure = check.failure_info
    sentence = f"{failure.failure.title} {failure.failure.message}"
    return f"{event.phase} {event.label} {check.name}: {sentence}\n{failure.code_sample}"


ALICE = basic("alice", PASSWORD)
LOGINS = pytest.mark.parametrize(
    ("login", "headers"), [(Login(), {}), (BASIC, ALICE)], ids=["none", "basic"]
)


@LOGINS
def test_nothing_is_found(tmp_path: Path, login: Login, headers: dict[str, str]) -> None:
    with application(tmp_path, login) as app, described(app, headers, [*ACCEPTED, "400"]) as schema:
        statuses, faults = findings(schema)
    print(sorted(statuses.items()))
    assert not faults, "\n\n".join(sorted(faults)[:20])
    assert statuses.total() > 10 * EXAMPLES


@LOGINS
def test_nothing_is_found_among_requests_that_can_be_performed(
    tmp_path: Path, login: Login, headers: dict[str, str]
) -> None:
    """The document with the tickers, rules and runs of this installation as the only ones allowed.

    Every request made from it must be accepted.
    """
    with application(tmp_path, login) as app, described(app, headers, ACCEPTED, narrow) as schema:
        statuses, faults = findings(schema)
    print(sorted(statuses.items()))
    assert not faults, "\n\n".join(sorted(faults)[:20])
    assert statuses[202] > EXAMPLES / 4
    assert statuses[409] > 0


JSON_ALONE = (
    "/backtest",
    "/sweeps",
    "/fetches",
    "/estimate",
    "/runs/bulk",
    "/runs/{run_id}/marks",
)


def narrow(document: Any) -> None:
    schemas = document["components"]["schemas"]
    single = schemas["Request"]["properties"]
    sweep = schemas["SweepRequest"]["properties"]
    single["ticker"] = {"enum": ["GOOG", "SPY"]}
    single["rule_id"] = {"enum": ["MA_CROSS_10_30", "RSI", "ALL(BB_20_2,MACD_12_26_9)"]}
    single["params"] = {"type": "object", "maxProperties": 0}
    sweep["tickers"] = {"enum": [["GOOG"], ["SPY", "GOOG"]]}
    sweep["rule_id"] = {"enum": ["MA_CROSS_10_30"]}
    sweep["grid"] = {"enum": [SWEEP["grid"], {"fast": 5}]}
    sweep["metric"] = {"enum": ["sharpe_ratio", "win_rate_pct"]}
    sweep["folds"] = {"enum": [0, 3, 20]}
    batch = schemas["BatchRequest"]["properties"]
    batch["tickers"] = {"enum": [["GOOG"], ["SPY", "GOOG"]]}
    batch["rules"] = {"enum": [["RSI"], [{"rule_id": "MA_CROSS", "params": {"fast": 5}}]]}
    schemas["Bulk"]["properties"]["runs"] = {"enum": [[RUN_ID]]}
    schemas["Bulk"]["properties"]["action"] = {"enum": ["star", "unstar", "cancel"]}
    schemas["NewMarks"]["properties"]["tags"] = {"enum": [[], ["idea"]]}
    fetch = schemas["FetchRequest"]["properties"]
    for request in (single, sweep, batch, fetch):
        request["start_date"] = {"enum": ["2013-01-02"]}
        request["end_date"] = {"enum": ["2020-02-07"]}
    for request in (single, sweep, batch):
        request["benchmark"] = {"enum": ["", "SPY", "GOOG"]}
    del document["paths"]["/sweeps/{run_id}/run"]  # takes a form alone
    for path in ("/prices", "/prices/{ticker}"):  # take files, which no schema describes
        del document["paths"][path]
    for path in ("/compare", "/compare.csv"):  # need several runs
        del document["paths"][path]
    searches = {
        "q": {"enum": ["", "ticker=GOOG star", "sharpe_ratio>0.5 note~x"]},
        "before": {"enum": ["1", "5"]},
        "after": {"enum": ["1", "5"]},
    }
    for path, operations in document["paths"].items():
        if path in JSON_ALONE:
            content = operations["post"]["requestBody"]["content"]
            operations["post"]["requestBody"]["content"] = {
                "application/json": content["application/json"]
            }
        for operation in operations.values():
            for parameter in operation["parameters"]:
                parameter["schema"] = searches.get(parameter["name"], parameter["schema"])
                if parameter["name"] == "run_id":
                    parameter["schema"] = {
                        "enum": [SWEEP_ID if path.startswith("/sweeps") else RUN_ID]
                    }


def test_a_lie_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that finding nothing means something."""
    monkeypatch.setattr(sys.modules[__name__], "EXAMPLES", 5)
    with application(tmp_path, Login()) as app:
        lie = wraps(app.view_functions["health.health"])(lambda: {"status": "so so"})
        monkeypatch.setitem(app.view_functions, "health.health", lie)
        with described(app, {}, [*ACCEPTED, "400"]) as schema:
            _, faults = findings(schema)
    assert any("GET /health response_schema_conformance" in finding for finding in faults)
    assert all("/health" in finding for finding in faults)
