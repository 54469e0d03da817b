"""Where the page of a run is, whatever its kind."""

from __future__ import annotations

from collections.abc import Mapping

from flask import url_for

from service.contract.status import BACKTEST, FORWARD, PRICES, SWEEP
from service.store.rows import Run

PAGES: Mapping[str, str] = {
    BACKTEST: "pages.result",
    SWEEP: "sweeps.sweep",
    PRICES: "fetches.fetch",
    FORWARD: "forward.forward",
}


def run_url(run: Run, format: str | None = None, part: str | None = None) -> str:
    """The address of the run's page, which is that of its result too.

    `format` is as in the query, `part` is the id of a part of the page.
    """
    # All records are on one page.
    run_id = None if run.is_forward else run.run_id
    return url_for(PAGES[run.kind], run_id=run_id, format=format, _anchor=part)
