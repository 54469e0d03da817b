"""The web as browsers see it: forms, pages and their headers."""

from __future__ import annotations

import html
import json
import re
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from rules.registry import BUILT_IN
from service.store.migrate import schema_problem
from service.usecases.runs import Runs
from service.web.factory import create_app
from tests.support.requests import REQUEST
from tests.support.web import BROWSER, CREDIT, FORM, completed, page, refused


def test_the_form_leads_to_the_result_page(client: FlaskClient, runs: Runs) -> None:
    answer = client.post("/backtest", data=FORM, headers=BROWSER)
    assert answer.status_code == 303
    (run,) = runs.run_store.latest(1)
    assert answer.headers["Location"] == f"/result/{run.run_id}"
    assert run.rule_id == "MA_CROSS_10_30"
    text = page(client, answer.headers["Location"])
    assert "data-standing" in text
    assert 'http-equiv="refresh"' in text
    assert "runs before this one: 0" in text


def test_the_form_asks_for_what_it_shows(client: FlaskClient, runs: Runs) -> None:
    form = {
        **FORM,
        "rule": "RSI",
        "RSI.period": "7",
        "RSI.oversold": "25.5",
        "RSI.overbought": "70",
        "allow_short": "on",
        "lot_size": "1",
    }
    client.post("/backtest", data=form)
    (run,) = runs.run_store.latest(1)
    document = json.loads(run.request)
    assert run.rule_id == "RSI_7_25.5_70"
    assert (document["allow_short"], document["lot_size"], document["params"]) == (
        True,
        1.0,
        {"overbought": 70, "oversold": 25.5, "period": 7},
    )


def test_the_form_builds_a_combination(client: FlaskClient, runs: Runs) -> None:
    form = {
        **FORM,
        "rule": "COMPOSITE",
        "mode": "ANY",
        "member1": " MA_CROSS_10_30 ",
        "member2": "",
        "member5": "RSI",
    }
    client.post("/backtest", data=form)
    (run,) = runs.run_store.latest(1)
    assert run.rule_id == "ANY(MA_CROSS_10_30,RSI_14_30_70)"
    text = page(client, f"/?run={run.run_id}")
    assert 'value="RSI_14_30_70"' in text
    assert re.search(r'<option value="ANY" selected>', text)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"initial_capital": "-5"}, "Capital must be a number from 0.01"),
        ({"initial_capital": "1e999"}, "Capital must be"),
        ({"initial_capital": ""}, "Capital must be"),
        ({"slippage_rate": " "}, "Slippage must be"),
        ({"MA_CROSS.fast": "abc"}, 'fast must be a finite number; got "abc".'),
        ({"MA_CROSS.fast": ""}, "fast must be a finite number"),
        ({"MA_CROSS.fast": "nan"}, "fast must be a finite number"),
        ({"MA_CROSS.fast": "9" * 5000}, "fast must be a finite number"),
        ({"MA_CROSS.fast": "40"}, "MA_CROSS: fast must be below slow, got 40 and 30."),
        ({"start_date": ""}, "From is missing."),
        ({"start_date": "2020-13-01"}, "From must be a date"),
        ({"ticker": "NOPE"}, 'There are no prices of "NOPE"'),
        ({"ticker": '"><script>alert(1)</script>'}, "Ticker must be"),
        ({"rule": "<script>"}, "There is no rule"),
        ({"rule": ""}, "Rule must be a text"),
        (
            {"rule": "COMPOSITE", "mode": "ALL", "member1": "RSI"},
            "ALL(...) joins 2 to 8 rules, got 1.",
        ),
        (
            {"rule": "COMPOSITE", "mode": "ALL", "member1": "RSI", "member2": "<i>"},
            'There is no rule "<i>"',
        ),
        ({"rule": "COMPOSITE"}, "A combination is written"),
        ({"MA_CROSS.self": "1"}, 'MA_CROSS has no parameter "self"'),
        ({"allow_short": "maybe"}, "Short selling must be true or false"),
    ],
)
def test_a_refused_form_keeps_what_was_typed(
    client: FlaskClient, runs: Runs, change: dict[str, str], sentence: str
) -> None:
    answer = client.post("/backtest", data={**FORM, **change}, headers=BROWSER)
    assert answer.status_code == 400
    assert sentence in html.unescape(answer.text)
    assert "<script>alert(1)" not in answer.text
    assert runs.run_store.latest(1) == []
    if "initial_capital" in change:
        assert f'value="{change["initial_capital"]}"' in answer.text
    assert 'value="2020-02-07"' in answer.text
    if change.get("MA_CROSS.fast", "").isdigit():
        assert f'value="{change["MA_CROSS.fast"]}"' in answer.text
    if "member2" in change:
        assert 'value="&lt;i&gt;"' in answer.text


def test_a_refused_form_is_answered_as_json_to_a_program(client: FlaskClient) -> None:
    refused(
        client.post("/backtest", data={**FORM, "ticker": "NOPE"}),
        400,
        "BadInput",
        "There are no prices",
    )


def test_the_dashboard_has_every_rule_and_the_latest_runs(client: FlaskClient, runs: Runs) -> None:
    text = page(client, "/")
    for rule in BUILT_IN.values():
        assert rule.metadata.summary in text
        for parameter in rule.metadata.parameters:
            assert f'name="{rule.metadata.name}.{parameter.name}"' in text
            assert parameter.meaning in text
    assert "GOOG: 2013-01-02 – 2023-09-21" in text
    assert text.count("<fieldset") == len(BUILT_IN) + 1, "and one for combinations"
    assert text.count("hidden disabled") == len(BUILT_IN)
    assert "None yet" in text
    completed(client, runs)
    assert "162.95 %" in page(client, "/")


def test_the_dashboard_without_javascript_shows_another_rule(client: FlaskClient) -> None:
    text = page(client, "/?rule=RSI&ticker=SPY&initial_capital=5")
    assert re.search(r'<fieldset data-rule="RSI" >', text)
    assert re.search(r'<fieldset data-rule="MA_CROSS" hidden disabled>', text)
    assert 'value="5"' in text
    assert 'name="ticker" value="SPY"' in text
    assert "SPY: 2000-05-01" in text


def test_the_dashboard_says_when_there_are_no_prices(tmp_path: Any) -> None:
    from scripts.config import Config
    from service.store.database import connect
    from service.store.migrate import migrate
    from service.store.prices import PriceStore
    from tests.support.stores import EveryStore

    empty = connect(Config(sqlite_path=str(tmp_path / "empty.sqlite3")))
    migrate(empty)
    client = create_app(
        Runs(EveryStore(empty), PriceStore(empty)), partial(schema_problem, empty)
    ).test_client()
    assert "There are no prices yet" in page(client, "/")
    answer = client.post("/backtest", json=REQUEST)
    refused(
        answer,
        400,
        "BadInput",
        "There are no prices yet; add some on the page Prices, or with"
        " python scripts/data_loader.py import --ticker GOOG - < GOOG.csv.",
    )
    empty.dispose()


def test_the_result_page_shows_the_result(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, params={"fast": 12})
    text = page(client, f"/result/{run_id}")
    assert f'src="/result/{run_id}/figure.png?lang=en"' in text
    assert "MA_CROSS_12_30" in text
    assert "Sharpe ratio" in text
    assert "Mean return per unit of volatility" in text
    assert "TinyVolume" in text
    assert runs.run(run_id).prices_fingerprint in text
    assert "http-equiv" not in text
    (link,) = re.findall(r'href="([^"]+format=json)"', text)
    assert client.get(link, headers=BROWSER).data == client.get(f"/result/{run_id}").data
    again = page(client, f"/?run={run_id}")
    assert 'name="MA_CROSS.fast" step="1" min="1"' in re.sub(r"\s+", " ", again)
    assert 'value="12"' in again


def test_a_run_that_never_traded_says_so(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs, rule_id="BB_20_10")
    text = page(client, f"/result/{run_id}")
    assert "The rule never traded in this range." in text
    assert "–" in text


def test_the_page_of_the_history_leads_to_older_runs(client: FlaskClient, runs: Runs) -> None:
    for i in range(3):
        client.post("/backtest", json={**REQUEST, "initial_capital": 1000 + i})
    text = page(client, "/runs?limit=2&ticker=GOOG")
    assert 'rel="next" href="/runs?' in text
    assert "before=" in text
    assert "No run fulfils these conditions." in page(client, "/runs?ticker=SPY")


def test_errors_are_pages_for_browsers(client: FlaskClient) -> None:
    assert "There is no run nobody." in page(client, "/result/nobody", 404)
    assert "There is no such page." in page(client, "/nothing", 404)
    assert "There is no run nobody." in page(client, "/?run=nobody", 404)
    assert "&lt;b&gt;" in client.get("/result/<b>", headers=BROWSER).text


@pytest.mark.parametrize(
    "address", ["/", "/runs", "/health", "/nothing", "/static/style.css", "/rules"]
)
def test_every_answer_has_the_security_headers(client: FlaskClient, address: str) -> None:
    with client.get(address, headers=BROWSER) as answer:
        headers = answer.headers
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_have_no_inline_code(client: FlaskClient, runs: Runs) -> None:
    run_id = completed(client, runs)
    credit = f'<a href="{CREDIT}"'
    for address in ("/", "/runs", f"/result/{run_id}", "/docs/style"):
        text = client.get(address, headers=BROWSER).text.replace(credit, "")
        assert not re.search(r"<script(?![^>]*src=)|<style| style=| on[a-z]+=\"", text)
        assert not re.search(r'(src|href)="(https?:)?//', text)


def test_the_web_writes_no_files(
    client: FlaskClient, runs: Runs, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = completed(client, runs)
    import builtins

    real = builtins.open

    def reading_only(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
        assert not set(mode) & set("wax+"), file
        return real(file, mode, *rest, **named)

    monkeypatch.setattr(builtins, "open", reading_only)
    for address in ("/", f"/result/{run_id}", "/runs"):
        assert client.get(address, headers=BROWSER).status_code == 200
    assert client.post("/backtest", data=FORM).status_code == 303
