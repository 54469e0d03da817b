"""What a job does to get the prices of a ticker: ask the vendor, judge them, store them."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from service.contract.errors import NoData
from service.contract.fetch import KRX, YAHOO, FetchRequest, FetchResult, parse_fetch
from service.contract.status import ExitCode, Status
from service.prices.files.reading import PriceFile
from service.prices.gate import gate_name
from service.prices.judging import Judgement, judgement_of
from service.store.claims import ClaimStore
from service.store.prices import packed
from service.store.rows import Run
from service.vendors import krx, yahoo
from service.vendors.errors import TryAgain, VendorFailed
from service.worker.claimed import work_on_claimed
from service.worker.software import UNKNOWN_SOFTWARE, Software

logger = logging.getLogger(__name__)

FETCH_FAILED_MESSAGE = "The prices could not be fetched; the log has the trace."
# Between two tries of a vendor that is busy or away; an hour's limit is not waited for.
PAUSES_SECONDS = (2.0, 10.0)

Fetch = Callable[[FetchRequest], PriceFile]


def from_yahoo(request: FetchRequest) -> PriceFile:
    """Asks Yahoo Finance; raises VendorFailed."""
    return yahoo.fetched(request.ticker, request.start_date, request.end_date)


def from_krx(request: FetchRequest) -> PriceFile:
    """Asks for prices of the Korea Exchange; raises VendorFailed."""
    return krx.fetched(request.ticker, request.start_date, request.end_date)


VENDORS: Mapping[str, Fetch] = {YAHOO: from_yahoo, KRX: from_krx}


@dataclass(frozen=True)
class FetchWorker:
    """Performs recorded fetches; each call ends with an exit code.

    `vendors` are the functions that ask them. `pause` waits between two tries.
    """

    claims: ClaimStore
    software: Software = UNKNOWN_SOFTWARE
    stopping: threading.Event = field(default_factory=threading.Event)
    vendors: Mapping[str, Fetch] = field(default_factory=lambda: VENDORS)
    pauses_seconds: Sequence[float] = PAUSES_SECONDS
    pause: Callable[[float], None] = time.sleep

    def work(self, run_id: str) -> int:
        """Claims and performs the fetch, unless it has ended or another worker performs it."""
        return work_on_claimed(
            self.claims,
            run_id,
            self._perform,
            self.stopping,
            FETCH_FAILED_MESSAGE,
        )

    def _perform(self, run: Run, attempt: int) -> int:
        request = parse_fetch(json.loads(run.request))
        logger.info("Fetch started: ticker=%s, vendor=%s", request.ticker, request.vendor)
        file = self._fetched(request)
        judgement = judgement_of(file)
        if judgement.refusal is not None:
            raise NoData(judgement.refusal.template, **judgement.refusal.values)
        series = packed(file.series, gate_name(), judgement.findings, file.actions)

        def result_of(is_new: bool) -> str:
            return _result_of(request, file, judgement, is_new, self.software).canonical()

        if self.claims.finish_fetch(run.run_id, attempt, series, run.client, result_of):
            logger.info("Fetch completed: bars=%d, fingerprint=%s", series.bars, series.fingerprint)
        else:
            logger.warning("The prices are discarded: the run was taken away")
        return ExitCode.DONE

    def _fetched(self, request: FetchRequest) -> PriceFile:
        """Asks once more after each pause, as long as the vendor may answer later."""
        ask = self.vendors[request.vendor]
        away: VendorFailed | None = None
        for seconds in (*self.pauses_seconds, None):
            try:
                return ask(request)
            except TryAgain as error:
                away = error
            except VendorFailed as error:
                # Of a vendor that was away a moment ago this may come of that.
                away = away or error
                break
            if seconds is not None:
                logger.warning("Asking again after %g seconds: %s", seconds, away)
                self.pause(seconds)
        assert away is not None
        raise away


def _result_of(
    request: FetchRequest,
    file: PriceFile,
    judgement: Judgement,
    is_new: bool,
    software: Software,
) -> FetchResult:
    series = file.series
    return FetchResult(
        run_id=request.run_id,
        status=Status.COMPLETED,
        ticker=request.ticker,
        vendor=request.vendor,
        prices_fingerprint=series.fingerprint,
        first_day=series.first.isoformat(),
        last_day=series.last.isoformat(),
        bars=len(series.data),
        is_new=is_new,
        findings=len(judgement.findings),
        dividends=sum(action.dividend > 0 for action in file.actions),
        splits=sum(action.split > 0 for action in file.actions),
        notes=[{"template": note.template, "values": dict(note.values)} for note in file.notes],
        provenance=software.provenance(),
    )
