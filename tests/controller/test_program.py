"""`python -m service.controller`: its loop, its lease, its database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from service.controller import __main__ as program
from service.controller.__main__ import main
from service.controller.leadership import Leadership
from service.controller.reconciler import Controller
from service.store.leases import LeaseStore
from tests.support.controllers import after, config_of


def test_a_pass_that_fails_is_not_the_last(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Leadership, "held", True)
    steps: list[bool] = []

    def step(self: Controller) -> None:
        steps.append(True)
        if len(steps) == 1:
            raise KeyError("status")

    monkeypatch.setattr(Controller, "step", step)
    main(config_of(engine), after(3))
    assert "The pass failed" in caplog.text
    assert len(steps) == 3


def test_main_steps_while_it_holds_the_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = iter([False, False, False, False, True, True, True, True])
    steps: list[bool] = []
    checked: list[bool] = []
    monkeypatch.setattr(Leadership, "held", property(lambda self: next(held)))
    monkeypatch.setattr(Controller, "step", lambda self: steps.append(True))
    monkeypatch.setattr(program, "installed_rules", lambda validate: checked.append(validate))
    main(config_of(engine), after(4))
    assert checked == [True], "plug-ins are validated when it starts"
    assert len(steps) == 2, "two rounds as a standby"
    assert not LeaseStore(engine).is_held("controller")


def test_the_database_may_go_away(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from sqlalchemy.exc import OperationalError

    monkeypatch.setattr(Leadership, "held", True)
    answers = iter([OperationalError("x", {}, Exception("gone")), None, None])

    def step(self: Controller) -> None:
        answer = next(answers)
        if answer:
            raise answer

    monkeypatch.setattr(Controller, "step", step)
    main(config_of(engine), after(3))
    assert "The database is away" in caplog.text
    assert next(answers, "used up") == "used up"
