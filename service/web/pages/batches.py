"""Batches: several tickers and several rules in one request, and the matrix of their runs."""

from __future__ import annotations

import logging

from flask import Blueprint, Response, jsonify, make_response, render_template, url_for
from werkzeug.exceptions import UnsupportedMediaType
from werkzeug.wrappers import Response as AnyResponse

from service.store.rows import Run
from service.usecases.batches import Batch, Batches
from service.usecases.comparing import MAX_COMPARED, compared
from service.web.errors import wants_json
from service.web.forms.submission import (
    FORCE,
    KEY,
    LOCATION,
    has_form,
    is_forced,
    read_json,
    with_id_of_key,
)
from service.web.middleware.auth import client_name
from service.web.openapi.document import answer, describe, json_of, text_of
from service.web.pages.common import PAGE_OR_JSON
from service.web.pages.compare import comparison_values
from service.web.presentation import period_of, run_document, shown, utc
from service.web.server.event_loop import run_in_native_thread
from service.web.services import runs_service

logger = logging.getLogger(__name__)

bp = Blueprint("batches", __name__)

EXAMPLE = {
    "tickers": ["GOOG", "AAPL"],
    "rules": ["RSI", {"rule_id": "MA_CROSS", "params": {"fast": 10, "slow": 30}}],
    "start_date": "2013-01-02",
    "end_date": "2020-02-07",
}


def batches_service() -> Batches:
    """The use cases of batches, in a request."""
    return Batches(runs_service())


def submit_batch(document: object) -> Batch:
    """Submits a batch in the name of the client, and logs it."""
    client = client_name()
    document = with_id_of_key(document, client, "batch_id")
    batch = batches_service().submit(document, client, is_forced())
    message = "Batch %s accepted: %d runs, client=%s"
    logger.info(message, batch.batch_id, len(batch.runs), client)
    return batch


def batch_url(batch: Batch) -> str:
    """The address of its page."""
    return url_for("batches.batch", batch_id=batch.batch_id)


@bp.post("/batches")
@describe(
    {202: answer("All runs are recorded, or were before.", json_of("Batch"), LOCATION)},
    FORCE,
    KEY,
    errors=(400, 409, 413, 415, 429),
    body=json_of("BatchRequest", cross=EXAMPLE),
)
def submit() -> AnyResponse:
    """Submits a backtest of every rule on every ticker: all of them, or none where one is refused.

    The form of the dashboard does the same by POST /backtest.
    """
    if has_form():
        raise UnsupportedMediaType
    batch = submit_batch(read_json())
    response = jsonify(_document(batch))
    response.status_code = 202
    response.headers["Location"] = batch_url(batch)
    return response


@bp.get("/batches/<batch_id>")
@describe(
    {200: answer("The runs of the batch.", {**json_of("Batch"), **text_of("text/html")})},
    PAGE_OR_JSON,
    errors=(404,),
)
def batch(batch_id: str) -> Response:
    """The runs of a batch as a matrix of tickers and rules, or as JSON."""
    found = batches_service().batch(batch_id)
    if wants_json():
        return jsonify(_document(found))
    values: dict[str, object] = {"shown": shown, "utc": utc, "period_of": period_of}
    if 2 <= len(found.runs) <= MAX_COMPARED:
        run_ids = [run.run_id for run in found.runs]
        values = comparison_values(compared(runs_service(), run_ids, run_in_native_thread))
    page = render_template(
        "batch.html", batch=found, best=_best(found), most=MAX_COMPARED, **values
    )
    return make_response(page)


def _best(batch: Batch) -> str | None:
    """The run with the largest return beyond holding, None where there is none yet."""
    known = [run for run in batch.runs if run.excess_pct is not None and run.num_trades]
    return max(known, key=_excess).run_id if known else None


def _excess(run: Run) -> float:
    assert run.excess_pct is not None
    return run.excess_pct


def _document(batch: Batch) -> dict[str, object]:
    marks = runs_service().run_store.marks_of([run.id for run in batch.runs])
    return {
        "batch_id": batch.batch_id,
        "url": batch_url(batch),
        "runs": [run_document(run, marks[run.id]) for run in batch.runs],
    }
