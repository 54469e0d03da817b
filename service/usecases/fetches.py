"""The use cases of fetches: prices that a vendor is asked for, by a job of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from service.contract.errors import RunNotFound
from service.contract.fetch import FetchRequest, FetchResult, parse_fetch
from service.contract.status import PRICES
from service.store.requests import NewRun
from service.store.rows import Run, reading
from service.usecases.names import with_tickers
from service.usecases.runs import Runs, with_run_id

FIRST_DAY = date(2000, 1, 1)  # where nobody says from when on


@dataclass(frozen=True)
class Fetches:
    """What the web may do with fetches; in the store a fetch is a run of its own kind."""

    runs: Runs

    def submit(self, document: object, client: str = "", force: bool = False) -> tuple[Run, bool]:
        """Records the fetch of `document` (fetch v1); otherwise like `Runs.submit`.

        Without dates it is all that the vendor has since FIRST_DAY.
        """
        request = self._request(document)
        return self.runs.record(request, lambda: _planned(request), client, force)

    def submit_all(
        self, tickers: Sequence[str], fields: Mapping[str, str], client: str = ""
    ) -> list[Run]:
        """A fetch for each ticker, recorded all or none.

        `fields` are those that all have in common; empty ones are as in `submit`.
        """
        shared = {name: text for name, text in fields.items() if text.strip()}
        requests = [self._request({**shared, "ticker": ticker}) for ticker in tickers]
        self.runs.check_rate(client, len(requests))
        planned = [_planned(request) for request in requests]
        self.runs.check_room(planned, client, force=True)
        rows = [NewRun({**each.values, "client": client}) for each in planned]
        self.runs.run_store.add_all(rows)
        return [self.runs.run(request.run_id) for request in requests]

    def _request(self, document: object) -> FetchRequest:
        if isinstance(document, dict):
            days = {"start_date": FIRST_DAY.isoformat(), "end_date": self._last_day(document)}
            document = {**days, **document}
        return parse_fetch(with_tickers(with_run_id(document), self.runs.price_store))

    def _last_day(self, document: Mapping[str, object]) -> str:
        """Today, or the day on which the same fetch was asked for first."""
        run_id = document.get("run_id")
        known = self.runs.run_store.get(run_id) if isinstance(run_id, str) else None
        if known is not None and known.is_fetch and known.end_date is not None:
            return known.end_date
        return str(self.today())

    def today(self) -> date:
        """By the clock of the database, in UTC."""
        return self.runs.run_store.now().date()

    def fetch(self, run_id: str) -> Run:
        """The row of a fetch; raises RunNotFound, also where the run is of another kind."""
        run = self.runs.run(run_id)
        if run.kind != PRICES:
            raise RunNotFound(run_id)
        return run

    def result(self, run: Run) -> FetchResult:
        """What came of a fetch that has ended."""
        stored = self.runs.stored(run)
        if stored is not None:
            with reading(f"The result of run {run.run_id}"):
                return FetchResult(**{**json.loads(stored.result), "run_id": run.run_id})
        evidence: dict[str, Any] = {"evidence": json.loads(run.evidence)} if run.evidence else {}
        return FetchResult(
            run.run_id,
            "failed",
            run.ticker,
            run.rule_id,
            error_code=run.reason,
            error_message=run.message,
            provenance=evidence,
        )


def _planned(request: FetchRequest) -> NewRun:
    return NewRun(
        {
            "run_id": request.run_id,
            "request": request.canonical(),
            "ticker": request.ticker,
            "rule_id": request.vendor,
            "prices_fingerprint": "",
            "rules_digest": "",
            "kind": PRICES,
            "start_date": request.start_date.isoformat(),
            "end_date": request.end_date.isoformat(),
        }
    )
