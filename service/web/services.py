"""What the routes work with: one object, kept with the Flask application."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event

from flask import Flask, current_app

from service.store.rows import Run
from service.usecases.fetches import Fetches
from service.usecases.marks import Marking
from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.usecases.troubles import Troubles
from service.web.middleware.auth import Login
from service.web.middleware.slots import without_slot
from service.web.missing_prices import PriceImport
from service.web.watch import Watch

EXTENSION = "stock_backtest"


@dataclass(frozen=True)
class Services:
    """The services that the factory was given.

    `schema_problem` says what is wrong with the schema of the database, "" where nothing is; it
    raises DatabaseError where the database cannot be reached. `prices_seen` is set as soon as
    there are prices: the current ones are never deleted, so nobody has to look again.
    `first_wait_seconds` is how long the page of a new run waits for its end: where that is likely
    soon, nobody has to see the page of a waiting run first. `price_writers` are the users who may
    store prices, everybody where it is empty, `max_upload_bytes` is how much at once;
    `price_vendors` are the names of vendors that may be asked.
    """

    runs: Runs
    login: Login
    schema_problem: Callable[[], str]
    database_name: str
    price_import: PriceImport
    troubles: Troubles
    price_writers: Collection[str] = ()
    max_upload_bytes: int = 2**24
    price_vendors: Collection[str] = ()
    first_wait_seconds: float = 0.0
    prices_seen: Event = field(default_factory=Event)

    @cached_property
    def watch(self) -> Watch:
        """Where requests wait for a run to change."""
        return Watch(self.runs.run_store.marks)

    @property
    def sweeps(self) -> Sweeps:
        return Sweeps(self.runs)

    @property
    def fetches(self) -> Fetches:
        return Fetches(self.runs)


def keep_services(app: Flask, services: Services) -> None:
    """Keeps the services with the application, where `services_of` finds them."""
    app.extensions[EXTENSION] = services


def services_of(app: Flask) -> Services:
    """The services of an application."""
    services: Services = app.extensions[EXTENSION]
    return services


def runs_service() -> Runs:
    """The runs, in a request."""
    return services_of(current_app).runs


def wait_for_news(
    run_id: str, seconds: float, is_news: Callable[[Run], bool] = lambda run: run.status.final
) -> None:
    """Returns once the run is news, or after so many seconds, in a request without its slot.

    Without `is_news` that is its end. A run that is not there is none to wait for.
    """
    deadline = time.monotonic() + seconds
    services = services_of(current_app)
    store = services.runs.run_store
    with without_slot():
        while (left := deadline - time.monotonic()) > 0:
            # The mark comes first: a change after it ends the wait.
            mark = store.marks([run_id]).get(run_id)
            run = store.get(run_id)
            if run is None or is_news(run):
                return
            if not services.watch.wait(run_id, mark, left):
                return


def sweeps_service() -> Sweeps:
    """The sweeps, in a request."""
    return services_of(current_app).sweeps


def fetches_service() -> Fetches:
    """The fetches, in a request."""
    return services_of(current_app).fetches


def marking() -> Marking:
    """The use cases of marks, in a request."""
    return Marking(runs_service())
