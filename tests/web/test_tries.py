"""What pages and the API say of all tries on the prices of a result."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from service.trials.haircut import Haircut
from service.trials.skill import Skill
from service.usecases.runs import Runs
from service.usecases.tries import TriesOfResult
from service.web.tries_page import tries_page_of
from tests.support.requests import REQUEST
from tests.support.web import completed, page, swept

RSI = {"rule_id": "RSI_14_30_70"}
SKILL = Skill(
    tries=412,
    is_exact=True,
    groups=37,
    effective=52.3,
    luck=0.83,
    needed_years=4.64,
    years=7.09,
    sharpe=0.92,
    probabilistic=0.993,
    deflated=0.6,
    timing=0.34,
    left=Haircut(0.1, 0.12, 0.2),
)


def tries(client: FlaskClient, run_id: str) -> dict[str, object]:
    document = client.get(f"/runs/{run_id}/tries").json
    assert document is not None
    (only,) = document["tries"]
    return dict(only)


def test_each_run_is_judged_by_all_that_were_made_until_now(
    client: FlaskClient, runs: Runs
) -> None:
    first = completed(client, runs)
    alone = tries(client, first)
    assert (alone["number"], alone["tries"], alone["groups"]) == (1, 1, 1)
    assert alone["deflated_sharpe_ratio"] == alone["probabilistic_sharpe_ratio"]
    assert "Nothing else was tried on these prices." in page(client, f"/result/{first}")
    second = completed(client, runs, **RSI)
    assert [tries(client, each)["number"] for each in (first, second)] == [1, 2]
    assert "Try 1 of 2 on these prices." in page(client, f"/result/{first}")
    assert "Try 2 of 2 on these prices." in page(client, f"/result/{second}")
    now = tries(client, first)
    assert now["deflated_sharpe_ratio"] < alone["deflated_sharpe_ratio"]  # type: ignore[operator]


def test_repeated_and_deleted_runs_change_nothing_and_other_prices_do_not_count(
    client: FlaskClient, runs: Runs
) -> None:
    first = completed(client, runs)
    second = completed(client, runs, **RSI)
    before = tries(client, first)
    completed(client, runs, ticker="SPY")
    completed(client, runs, start_date="2014-01-02")
    repeated = client.post("/backtest", json=REQUEST).json
    assert repeated is not None
    assert tries(client, repeated["run_id"]) == before
    assert runs.run_store.delete([second]) == 1
    assert tries(client, first) == before
    assert client.get(f"/runs/{second}/tries").status_code == 404


def test_costs_and_capital_make_another_try(client: FlaskClient, runs: Runs) -> None:
    first = completed(client, runs)
    completed(client, runs, commission_rate=0.002)
    both = tries(client, first)
    assert (both["tries"], both["groups"]) == (2, 1), "they trade at the same times"


def test_the_pages_of_searches_and_runs_say_the_same(client: FlaskClient, runs: Runs) -> None:
    single = completed(client, runs, **RSI, start_date="2015-01-02", end_date="2018-12-31")
    search = swept(client, runs, reality_check=True)
    document = client.get(f"/sweeps/{search}").json
    assert document is not None
    (summary,) = document["tickers"]
    count = summary["tries"] + 1
    assert tries(client, single)["tries"] == tries(client, search)["tries"] == count
    shown = page(client, f"/sweeps/{search}")
    assert f"after {count} tries" in shown
    assert re.search(r"What this rests on.*Independent tries", shown, re.DOTALL)
    assert "Combinations better than holding" in shown
    again = completed(
        client, runs, rule_id=summary["best"]["rule_id"], start_date="2015-01-02",
        end_date="2018-12-31",
    )  # fmt: skip
    assert (
        tries(client, again)["timing_probability"] == (tries(client, search)["timing_probability"])
    )


def test_of_a_search_on_two_tickers_the_tries_on_both_count(
    client: FlaskClient, runs: Runs
) -> None:
    search = swept(client, runs, tickers=["GOOG", "SPY"])
    document = client.get(f"/runs/{search}/tries").json
    result = client.get(f"/sweeps/{search}").json
    assert document is not None
    assert result is not None
    assert [each["ticker"] for each in document["tries"]] == ["GOOG", "SPY"]
    for each, summary in zip(document["tries"], result["tickers"], strict=True):
        assert each["tries"] == summary["tries"]


def test_a_run_without_a_result_was_no_try(client: FlaskClient, runs: Runs) -> None:
    accepted = client.post("/backtest", json=REQUEST).json
    assert accepted is not None
    assert client.get(f"/runs/{accepted['run_id']}/tries").json == {"tries": []}
    never = completed(client, runs, rule_id="RSI_14_1_99")
    assert client.get(f"/runs/{never}/tries").json == {"tries": []}
    assert "on these prices" not in page(client, f"/result/{never}")


@pytest.mark.parametrize(
    ("change", "sentence", "tone"),
    [
        ({}, "Try 7 of 412 on these prices. With 34 % probability", "loss"),
        ({"timing": 0.97}, "With 97 % probability its timing is more than luck after all", "gain"),
        ({"timing": math.nan}, "Try 7 of 412 on these prices.", ""),
        ({"is_exact": False, "tries": 52_345}, "About 52,000 tries were made on these", "loss"),
        ({"tries": 1}, "Nothing else was tried on these prices.", "loss"),
    ],
)
def test_the_sentence(
    client: FlaskClient, change: dict[str, float], sentence: str, tone: str
) -> None:
    with client.application.test_request_context():
        found = tries_page_of(TriesOfResult("GOOG", 7, replace(SKILL, **change)))  # type: ignore[arg-type]
    assert found is not None
    assert sentence in found.sentence.replace("\N{NO-BREAK SPACE}", " ")
    assert " %" not in found.sentence
    assert found.tone == tone
    assert len(found.facts) == (6 if found.facts else 0)
    assert bool(found.facts) == (change.get("tries", 412) > 1)


def test_no_page_without_tries(client: FlaskClient) -> None:
    assert tries_page_of(None) is None
