"""How many requests are worked on at once, and how much memory unread answers may take."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from flask import Flask, Response, send_file
from flask.testing import FlaskClient

from service.web.middleware.unread import MAX_SMALL_BYTES, UnreadAnswers
from service.web.server.event_loop import run_in_native_thread
from service.web.services import services_of

LARGE = MAX_SMALL_BYTES + 1


@pytest.fixture
def answering() -> FlaskClient:
    """An application that has room for two large answers of one client."""
    app = Flask("answering")
    app.after_request(UnreadAnswers(max_bytes=4 * LARGE).limit)
    app.add_url_rule("/large", "large", lambda: Response(b"x" * LARGE))
    app.add_url_rule("/small", "small", lambda: Response(b"x" * MAX_SMALL_BYTES))
    app.add_url_rule("/file", "file", lambda: send_file(Path(__file__)))
    return app.test_client()


def ask(client: FlaskClient, path: str, method: str = "GET") -> Response:
    """The answer, whose body nobody has read to its end."""
    return client.open(path, method=method, headers={"Accept": "application/json"})


def test_one_large_answer_too_many_is_refused(answering: FlaskClient) -> None:
    unread = [ask(answering, "/large") for _ in range(2)]
    refused = ask(answering, "/large")
    assert (refused.status_code, refused.json["code"]) == (503, "Busy")
    assert refused.headers["Retry-After"] == "5"
    assert ask(answering, "/small").status_code == 200
    with ask(answering, "/file") as file:
        assert file.status_code == 200
    unread[0].close()
    assert ask(answering, "/large").status_code == 200
    assert ask(answering, "/large").status_code == 503


def test_who_reads_nothing_leaves_room_for_others() -> None:
    app = Flask("answering")
    app.after_request(UnreadAnswers(max_bytes=8 * LARGE).limit)
    app.add_url_rule("/large", "large", lambda: Response(b"x" * LARGE))
    client = app.test_client()

    def unread_of(address: str) -> int:
        """How many answers this client gets and does not read."""
        environment = {"REMOTE_ADDR": address}
        answers = [
            client.get("/large", environ_base=environment, headers={"Accept": "*/*"})
            for _ in range(9)
        ]
        kept.extend(answers)
        return sum(answer.status_code == 200 for answer in answers)

    kept: list[Response] = []
    assert [unread_of(f"10.0.0.{number}") for number in range(5)] == [4, 2, 1, 1, 0]


def test_an_answer_without_a_body_is_forgotten_as_well(answering: FlaskClient) -> None:
    for _ in range(5):
        ask(answering, "/large", "HEAD").close()
    assert ask(answering, "/large").status_code == 200


def test_a_slot_is_given_back_whatever_the_answer(client: FlaskClient) -> None:
    for _ in range(5):
        assert client.get("/rules").status_code == 200
        assert client.get("/status/nobody").status_code == 404
        assert (
            client.post("/backtest", data="{", content_type="application/json").status_code == 400
        )
        assert client.post("/backtest", data="x" * 70_000).status_code == 413


def test_a_probe_needs_no_slot(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """All slots are taken by requests that wait for the prices."""
    waiting, may_go_on = threading.Semaphore(0), threading.Event()
    app = client.application

    def wait() -> list[object]:
        waiting.release()
        may_go_on.wait(30)
        return []

    monkeypatch.setattr(services_of(app).runs.price_store, "tickers", wait)
    threads = [threading.Thread(target=lambda: app.test_client().get("/tickers")) for _ in range(5)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert waiting.acquire(timeout=10)
    assert client.get("/health").status_code == 200
    assert not waiting.acquire(blocking=False), "the fifth waits"
    may_go_on.set()
    for thread in threads:
        thread.join(10)
    assert waiting.acquire(blocking=False)


def test_errors_come_back_from_a_native_thread() -> None:
    assert run_in_native_thread(int, "7") == 7
    with pytest.raises(ValueError, match="seven"):
        run_in_native_thread(int, "seven")
