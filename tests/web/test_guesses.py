"""Whoever guesses passwords is slow; whoever knows one gets in, however many guess beside them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine

from service.contract.errors import TooManyLogins
from service.usecases.runs import Runs
from service.web.middleware import guesses
from service.web.middleware.auth import Login
from service.web.middleware.guesses import MAX_IN_LANE, Guesses
from tests.support.logins import BASIC, PASSWORD, TOKEN, TOKENS, USERS, basic, bearer, client_with
from tests.support.web import refused


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(guesses, "time", clock)
    return clock


def guess(attempts: Guesses, address: str, name: str, is_right: bool = False) -> None:
    with attempts.attempt(address, name) as attempt:
        attempt.is_right = is_right


@contextmanager
def busy(lanes: Guesses, address: str, name: str) -> Iterator[Callable[[], None]]:
    """Inside the block a password of that address and name is being verified."""
    begun, go_on = threading.Event(), threading.Event()

    def verify() -> None:
        with lanes.attempt(address, name):
            begun.set()
            assert go_on.wait(20)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(verify)
        assert begun.wait(20)
        try:
            yield go_on.set
        finally:
            go_on.set()
        done.result(20)


def test_after_a_wrong_password_both_its_address_and_its_name_pause(clock: Clock) -> None:
    attempts = Guesses(pause_seconds=0.5)
    guess(attempts, "10.0.0.1", "alice")
    assert clock.now == 100.0, "the first has not waited"
    guess(attempts, "10.0.0.2", "bob")
    assert clock.now == 100.0, "nor has anybody else"
    guess(attempts, "10.0.0.1", "carol")
    assert clock.now == 100.5
    guess(attempts, "10.0.0.3", "carol")
    assert clock.now == 101.0


def test_after_a_right_one_nobody_pauses(clock: Clock) -> None:
    attempts = Guesses(pause_seconds=0.5)
    for _ in range(10):
        guess(attempts, "10.0.0.1", "alice", is_right=True)
    assert clock.now == 100.0


def test_an_error_while_verifying_counts_as_wrong(clock: Clock) -> None:
    attempts = Guesses(pause_seconds=0.5)
    with pytest.raises(ZeroDivisionError), attempts.attempt("10.0.0.1", "alice"):
        raise ZeroDivisionError
    guess(attempts, "10.0.0.1", "alice")
    assert clock.now == 100.5


def test_only_so_many_wait_in_a_lane_and_others_have_their_own() -> None:
    attempts = Guesses(pause_seconds=0.0)
    with ThreadPoolExecutor(MAX_IN_LANE) as pool, busy(attempts, "10.0.0.1", "alice") as end:
        waiting = [
            pool.submit(guess, attempts, "10.0.0.1", "alice") for _ in range(MAX_IN_LANE - 1)
        ]
        deadline = time.monotonic() + 20
        while attempts._addresses["10.0.0.1"].count < MAX_IN_LANE:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(TooManyLogins):
            guess(attempts, "10.0.0.1", "bob")
        guess(attempts, "10.0.0.2", "bob")
        end()
        for each in waiting:
            each.result(20)
    guess(attempts, "10.0.0.1", "bob")


def test_of_one_address_one_attempt_at_a_time_is_in_the_way_of_a_name() -> None:
    attempts = Guesses(pause_seconds=0.0)
    with ThreadPoolExecutor(8) as pool, busy(attempts, "10.0.0.1", "alice") as end:
        others = [pool.submit(guess, attempts, "10.0.0.1", "alice") for _ in range(7)]
        owner = pool.submit(guess, attempts, "10.0.0.9", "alice")
        deadline = time.monotonic() + 20
        while attempts._addresses["10.0.0.1"].count + attempts._names["alice"].count < 10:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert attempts._names["alice"].count == 2, "the one at work, and the owner"
        end()
        for each in [*others, owner]:
            each.result(20)


def test_all_addresses_of_a_network_are_one_client(clock: Clock) -> None:
    attempts = Guesses(pause_seconds=0.5)
    for number in range(3):
        guess(attempts, f"2001:db8::{number}", f"name{number}")
    assert clock.now == 101.0
    guess(attempts, "2001:db8:0:1::1", "another")
    assert clock.now == 101.0


def test_what_is_kept_of_addresses_is_bounded(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guesses, "MAX_IDLE_LANES", 10)
    attempts = Guesses()
    for number in range(1000):
        guess(attempts, f"10.0.{number // 250}.{number % 250}", f"name{number}")
        clock.sleep(1.0)
    assert len(attempts._addresses) <= 10
    assert len(attempts._names) <= 10


def test_the_right_user_gets_in_while_eight_guess_beside_them(engine: Engine, runs: Runs) -> None:
    """From the same address, as behind a proxy that is not configured, and for the same name."""
    login = Login("basic", USERS, guesses=Guesses(pause_seconds=0.01))
    client = client_with(engine, runs, login)
    stop = threading.Event()

    def attack() -> set[int]:
        statuses = set()
        while not stop.is_set():
            statuses.add(client.get("/rules", headers=basic("alice", "a guess")).status_code)
        return statuses

    with ThreadPoolExecutor(8) as pool:
        attacks = [pool.submit(attack) for _ in range(8)]
        try:
            for _ in range(3):
                login._verified.clear()
                answer = client.get("/rules", headers=basic("alice", PASSWORD))
                assert answer.status_code == 200
        finally:
            stop.set()
    assert {status for each in attacks for status in each.result()} == {401}


def test_too_many_are_refused_and_those_who_are_known_are_not(
    engine: Engine, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_with(engine, runs, Login("basic", USERS, TOKENS))
    assert client.get("/runs", headers=basic("alice", PASSWORD)).status_code == 200
    monkeypatch.setattr(guesses, "MAX_AT_ONCE", 0)
    answer = client.get("/runs", headers=basic("alice", "a guess"))
    refused(answer, 429, "TooManyRequests", "passwords are being verified")
    assert answer.headers["Retry-After"] == "1"
    assert client.get("/runs", headers=basic("alice", PASSWORD)).status_code == 200
    assert client.get("/runs", headers=bearer(TOKEN)).status_code == 200


def test_the_log_names_who_was_refused(
    engine: Engine, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    client = client_with(engine, runs, BASIC)
    with caplog.at_level(logging.WARNING):
        client.get("/runs", headers=basic("alice", "a guess"))
        client.get("/runs", headers=basic("perhaps a password", "a guess"))
        client.get("/runs", headers=bearer("a guess"))
    assert [record.getMessage() for record in caplog.records] == [
        "Login refused: name=alice, address=127.0.0.1",
        "Login refused: name=unknown, address=127.0.0.1",
        "Login refused: name=-, address=127.0.0.1",
    ]
