"""One controller is active: a standby takes over from one that fell silent (on MySQL too)."""

from __future__ import annotations

import threading
import time

import pytest
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from service.controller import leadership as module
from service.controller.leadership import LEADERSHIP_SECONDS, RENEW_SECONDS, Leadership
from service.store.leases import CONTROLLER, LeaseStore


@pytest.fixture
def leases(engine: Engine) -> LeaseStore:
    return LeaseStore(engine)


def test_one_of_two_leads_and_the_other_follows_when_it_leaves(leases: LeaseStore) -> None:
    first, second = (Leadership(leases, name, lambda: True) for name in ("first", "second"))
    assert not first.held
    for each in (first, second, first):
        each.take()
    assert (first.held, second.held) == (True, False)
    first.start()
    first.stop()
    second.take()
    assert (first.held, second.held) == (False, True)


def test_a_paused_one_stops_believing_before_the_other_takes_over(
    leases: LeaseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused = Leadership(leases, "paused", lambda: True)
    paused.take()
    later = time.monotonic() + LEADERSHIP_SECONDS
    monkeypatch.setattr(module.time, "monotonic", lambda: later)
    assert leases.is_held(CONTROLLER), "by the database's clock it still has a moment"
    assert not paused.held


def test_a_takeover_takes_less_than_ten_seconds() -> None:
    assert LEADERSHIP_SECONDS + RENEW_SECONDS + 1 < 10


def test_a_loop_that_stands_still_loses_the_lease(leases: LeaseStore) -> None:
    stuck = Leadership(leases, "stuck", lambda: False)
    stuck.take()
    assert not stuck.held
    assert not leases.is_held(CONTROLLER)


def test_the_thread_outlives_a_database_that_is_away(
    leases: LeaseStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    real = leases.take
    answers = iter([OperationalError("x", {}, Exception("gone"))])

    is_renewed = threading.Event()
    taken: list[bool] = []

    def take(name: str, holder: str, seconds: int) -> bool:
        error = next(answers, None)
        if error:
            raise error
        # With the second answer the thread has taken note of the first.
        if taken:
            is_renewed.set()
        taken.append(real(name, holder, seconds))
        return taken[-1]

    monkeypatch.setattr(leases, "take", take)
    leadership = Leadership(leases, "me", lambda: True)
    leadership.start()
    assert is_renewed.wait(20)
    assert leadership.held
    assert "could not be renewed: gone" in caplog.text
    leadership.stop()
    assert not leases.is_held(CONTROLLER)
