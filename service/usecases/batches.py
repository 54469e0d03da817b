"""Several tickers and several rules, asked for at once: all of the runs are recorded, or none."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache, partial
from typing import Any, TypeVar

from service.contract.batch import parse_batch
from service.contract.errors import (
    BatchConflict,
    BatchRefused,
    InvalidRequest,
    RunNotFound,
    UserError,
)
from service.contract.request import BacktestRequest, parse_request
from service.store.prices import PriceStore
from service.store.requests import NewRun
from service.store.rows import Run
from service.usecases.names import with_tickers
from service.usecases.runs import Runs

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Batch:
    """The runs of a batch, by ticker and rule as they were asked for."""

    batch_id: str
    runs: Sequence[Run]

    @property
    def tickers(self) -> list[str]:
        """In the order in which they were asked for."""
        return list(dict.fromkeys(run.ticker for run in self.runs))

    @property
    def rules(self) -> list[str]:
        """In the order in which they were asked for."""
        return list(dict.fromkeys(run.rule_id for run in self.runs))

    @cached_property
    def _by_cell(self) -> dict[tuple[str, str], Run]:
        return {(run.ticker, run.rule_id): run for run in self.runs}

    def run_of(self, ticker: str, rule: str) -> Run | None:
        """The run of a cell of the matrix, None where it was deleted."""
        return self._by_cell.get((ticker, rule))

    def row(self, ticker: str) -> list[Run]:
        """The runs of a ticker."""
        return [run for run in self.runs if run.ticker == ticker]

    def column(self, rule: str) -> list[Run]:
        """The runs of a rule."""
        return [run for run in self.runs if run.rule_id == rule]

    @property
    def ended(self) -> int:
        """How many of its runs have ended."""
        return sum(run.status.final for run in self.runs)

    @property
    def is_unfinished(self) -> bool:
        return self.ended < len(self.runs)


@dataclass(frozen=True)
class Batches:
    """What the web may do with batches; in the store a batch is a column of its runs."""

    runs: Runs

    def submit(self, document: object, client: str = "", force: bool = False) -> Batch:
        """Records the runs of a batch document.

        The same batch_id with the same request gives the same batch. Raises BatchRefused with all
        errors, BatchConflict, QueueFull or TooManyRequests; then nothing is stored.
        """
        if isinstance(document, dict):
            document = {"batch_id": str(uuid.uuid4()), **document}
        batch = parse_batch(with_tickers(document, self.runs.price_store))
        errors: list[UserError] = []
        parse = partial(_request, batch.digest)
        requests = list(_accepted(parse, enumerate(batch.documents()), errors))
        known = self._runs_of(batch.batch_id)
        if not known:
            self._record(batch.batch_id, requests, errors, client, force)
            known = self._runs_of(batch.batch_id)
        # Runs that were deleted, and a rule that was named twice, are missing.
        asked = {request.run_id for request in requests}
        if not {run.run_id for run in known} <= asked:
            raise BatchConflict(batch.batch_id)
        return Batch(batch.batch_id, known)

    def _record(
        self,
        batch_id: str,
        requests: Sequence[BacktestRequest],
        errors: list[UserError],
        client: str,
        force: bool,
    ) -> None:
        self.runs.check_rate(client, 1)
        runs = replace(self.runs, price_store=_PricesOfOneBatch(self.runs.price_store))
        accepted = _accepted(runs.planned, requests, errors)
        # A rule may have been named in two ways.
        cells = {(run.values["ticker"], run.values["rule_id"]): run for run in accepted}
        planned = list(cells.values())
        if errors:
            # Each different one once.
            raise BatchRefused(list({str(error): error for error in errors}.values()))
        most = min(runs.max_pending, runs.rate_limit or runs.max_pending)
        if len(planned) > most:
            template = "At most {most} runs may be asked for at once here; {count} are."
            raise InvalidRequest(template, most=most, count=len(planned))
        runs.check_rate(client, len(planned))
        runs.check_room(planned, client, force)
        columns = {"batch_id": batch_id, "client": client}
        runs.run_store.add_all([_with(run, columns, force) for run in planned])

    def batch(self, batch_id: str) -> Batch:
        """The runs of a batch; raises RunNotFound where there is none of them."""
        known = self._runs_of(batch_id)
        if not known:
            raise RunNotFound(batch_id)
        return Batch(batch_id, known)

    def _runs_of(self, batch_id: str) -> Sequence[Run]:
        """In the order in which they were asked for."""
        return self.runs.run_store.of_batch(batch_id)


def _accepted(check: Callable[[T], R], items: Iterable[T], errors: list[UserError]) -> Iterator[R]:
    """What `check` makes of each item; where it refuses one, the error joins the others."""
    for item in items:
        try:
            yield check(item)
        except UserError as error:
            errors.append(error)


def _request(batch_digest: str, cell: tuple[int, Mapping[str, Any]]) -> BacktestRequest:
    """The request of a cell; of the same batch it always has the same run_id."""
    place, document = cell
    digest = hashlib.sha256(f"{batch_digest}\n{place}".encode()).digest()
    run_id = uuid.UUID(bytes=digest[:16], version=4)
    return parse_request({"run_id": str(run_id), **document})


class _PricesOfOneBatch(PriceStore):
    """Reads each ticker and its prices once; the runs of a ticker come one after the other."""

    def __init__(self, store: PriceStore) -> None:
        self.ticker = cache(store.ticker)  # type: ignore[method-assign]
        self.tickers = store.tickers  # type: ignore[method-assign]
        self.ticker_named = store.ticker_named  # type: ignore[method-assign]
        self.series = lru_cache(maxsize=2)(store.series)  # type: ignore[method-assign]


def _with(run: NewRun, columns: Mapping[str, Any], force: bool) -> NewRun:
    return replace(run, values={**run.values, **columns}, work=None if force else run.work)
