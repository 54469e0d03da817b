"""The parts of a result as files: the figure and the two tables."""

from __future__ import annotations

import base64
import csv
import io

from flask import Blueprint, Response, g

from service.contract.errors import NoResult
from service.contract.result import TRADE_FIELDS, BacktestResult
from service.contract.status import Status
from service.web.middleware.conditional import conditional
from service.web.openapi.document import cached, describe, text_of
from service.web.services import runs_service

bp = Blueprint("files", __name__)


@bp.get("/result/<run_id>/figure.png")
@describe(cached("The figure.", {"image/png": {}}), errors=(404,))
def figure(run_id: str) -> Response:
    """The result's figure: price with entries and exits, equity against buy and hold, drawdown."""
    result = _result(run_id)
    if result.chart_base64 is None:
        raise NoResult(run_id, "completed")
    _, _, encoded = result.chart_base64.partition(",")
    return conditional(Response(base64.b64decode(encoded), mimetype="image/png"))


@bp.get("/result/<run_id>/equity.csv")
@describe(cached("A line per bar.", text_of("text/csv")), errors=(404,))
def equity_csv(run_id: str) -> Response:
    """The table behind the figure: date, equity, drawdown, position, buy and hold."""
    g.run_id = run_id
    return csv_file(
        runs_service().equity_csv(runs_service().backtest(run_id)), f"equity-{run_id}.csv"
    )


@bp.get("/result/<run_id>/trades.csv")
@describe(cached("A line per trade.", text_of("text/csv")), errors=(404,))
def trades_csv(run_id: str) -> Response:
    """The trades of the result, a line each."""
    table = io.StringIO()
    writer = csv.DictWriter(table, TRADE_FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_result(run_id).trades)
    return csv_file(table.getvalue(), f"trades-{run_id}.csv")


def _result(run_id: str) -> BacktestResult:
    g.run_id = run_id
    run = runs_service().backtest(run_id)
    if run.status != Status.COMPLETED:
        raise NoResult(run_id, run.status)
    return runs_service().result(run)


def csv_file(content: str, name: str) -> Response:
    """A CSV table that browsers save under this name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return conditional(Response(content, mimetype="text/csv", headers=headers))
