"""What the routes work with: one object, kept with the Flask application."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from flask import Flask, current_app

from service.usecases.runs import Runs
from service.usecases.sweeps import Sweeps
from service.web.middleware.auth import Login
from service.web.missing_prices import PriceImport

EXTENSION = "stock_backtest"


@dataclass(frozen=True)
class Services:
    """The services that the factory was given.

    `schema_problem` says what is wrong with the schema of the database, "" where nothing is; it
    raises DatabaseError where the database cannot be reached. `prices_seen` is set as soon as
    there are prices: they are never deleted, so nobody has to look again.
    """

    runs: Runs
    login: Login
    schema_problem: Callable[[], str]
    database_name: str
    price_import: PriceImport
    prices_seen: Event = field(default_factory=Event)

    @property
    def sweeps(self) -> Sweeps:
        return Sweeps(self.runs)


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


def sweeps_service() -> Sweeps:
    """The sweeps, in a request."""
    return services_of(current_app).sweeps
