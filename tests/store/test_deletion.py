"""Deleting runs takes no result from others that were answered with it."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, select

from service.contract.request import parse_request
from service.contract.status import Status
from service.store.tables import figures, results
from service.usecases.runs import Runs
from service.worker.run import RunWorker
from tests.support.requests import REQUEST
from tests.support.web import completed


def again(client: FlaskClient) -> str:
    """A run that is answered with the result of an identical one."""
    answer = client.post("/backtest", json=REQUEST).json
    assert answer is not None
    assert answer["reused_from"]
    return str(answer["run_id"])


@pytest.mark.parametrize("deleted", [1, 2])
def test_the_oldest_that_stays_inherits_the_result(
    client: FlaskClient, runs: Runs, engine: Engine, deleted: int
) -> None:
    first = completed(client, runs)
    others = [again(client) for _ in range(3)]
    expected = client.get(f"/result/{others[-1]}").json
    assert runs.run_store.delete([first, *others[: deleted - 1]]) == deleted
    heir, *rest = others[deleted - 1 :]
    for run_id in (heir, *rest):
        assert client.get(f"/result/{run_id}").json == {**expected, "run_id": run_id}
        assert client.get(f"/result/{run_id}/figure.png").status_code == 200
        assert client.get(f"/result/{run_id}/equity.csv").status_code == 200
    assert runs.run(heir).reused_from is None
    assert {runs.run(run_id).reused_from for run_id in rest} == {heir}
    # The next identical request is answered from the heir, too.
    assert runs.run(again(client)).reused_from == heir
    with engine.connect() as connection:
        document = connection.scalar(select(results.c.result).where(results.c.run_id == heir))
    assert json.loads(str(document))["run_id"] == heir


def test_a_cancelled_run_inherits_nothing(client: FlaskClient, runs: Runs) -> None:
    """It shows no result; identical requests would wait for it for ever."""
    leader = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    cancelled = again(client)
    runs.run_store.cancel(cancelled)
    other = again(client)
    request = parse_request(json.loads(runs.run(leader).request))
    assert RunWorker(runs.run_store, runs.price_store).work(request) == 0
    assert runs.run_store.delete([leader]) == 1
    assert client.get(f"/result/{other}").json["status"] == "completed"  # type: ignore[index]
    assert runs.run(again(client)).reused_from == other
    runs.run_store.delete([run.run_id for run in runs.run_store.latest(10)])
    answer = client.post("/backtest", json=REQUEST).json
    assert answer is not None
    assert answer["reused_from"] is None


def test_the_last_one_takes_everything_with_it(
    client: FlaskClient, runs: Runs, engine: Engine
) -> None:
    run_ids = [completed(client, runs), again(client)]
    assert runs.run_store.delete(run_ids) == 2
    with engine.connect() as connection:
        for table in (results, figures):
            assert connection.scalar(select(func.count()).select_from(table)) == 0
    answer = client.post("/backtest", json=REQUEST).json
    assert answer is not None
    assert answer["reused_from"] is None


def test_a_run_that_has_not_ended_stays(client: FlaskClient, runs: Runs) -> None:
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    assert runs.run_store.delete([run_id, "nobody"]) == 0
    assert runs.run(run_id).status == Status.PENDING


def test_an_attached_run_of_a_deleted_failure_is_not_touched(
    client: FlaskClient, runs: Runs
) -> None:
    """A failed run answers nobody; those that failed with it stay as they are."""
    run_id = client.post("/backtest", json=REQUEST).json["run_id"]  # type: ignore[index]
    attached = again(client)
    runs.run_store.cancel(run_id)
    assert runs.run_store.delete([run_id]) == 1
    assert runs.run(attached).status == Status.PENDING
    assert runs.run(attached).reused_from is None
