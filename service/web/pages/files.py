"""The parts of a result as files: figure, chart, the two tables, and a report of them all."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from flask import Blueprint, Response, g, render_template, request
from markupsafe import Markup

from scripts.config import ROOT
from service.contract.errors import NoResult
from service.contract.result import TRADE_FIELDS, BacktestResult
from service.contract.status import Status
from service.usecases.views import FIGURE_WORDS, view_of
from service.web.middleware.conditional import conditional
from service.web.middleware.texts import LANGUAGES, catalogue, language
from service.web.openapi.document import cached, describe, json_of, query, text_of
from service.web.pages.common import choice_in_query, whole_number
from service.web.presentation import price_text, shown, utc
from service.web.result_page import page_values, trade_rows
from service.web.server.event_loop import run_in_native_thread, run_one_at_a_time
from service.web.services import runs_service
from service.web.warnings import told

bp = Blueprint("files", __name__)

LIGHT = "light"
DARK = "dark"
THEMES = (LIGHT, DARK)
ENGLISH = "en"
# Of the figure that each result has
STORED_LOOK = (ENGLISH, LIGHT)
MAX_BAR = 10**9
MAX_TRADES_IN_A_REPORT = 2000


@bp.get("/result/<run_id>/figure.png")
@describe(
    cached("The figure.", {"image/png": {}}),
    query("lang", "the language of its words", enum=["", *LANGUAGES]),
    query("theme", "for light or for dark pages", enum=["", *THEMES]),
    errors=(400, 404),
)
def figure(run_id: str) -> Response:
    """The result's figure: price with entries and exits, equity against buy and hold, drawdown.

    In English and light it is the one that the result has; in another look it is drawn again.
    """
    g.run_id = run_id
    lang = choice_in_query("lang", tuple(LANGUAGES)) or ENGLISH
    theme = choice_in_query("theme", THEMES) or LIGHT
    return conditional(Response(_figure(run_id, lang, theme), mimetype="image/png"))


def _figure(run_id: str, lang: str, theme: str, is_large: bool = False) -> bytes:
    """PNG; the stored one where its prices are gone, so that no other can be drawn."""
    run = runs_service().backtest(run_id)
    if is_large or (lang, theme) != STORED_LOOK:
        view = view_of(runs_service(), run, run_in_native_thread)
        drawn = view.figure(words_of_figure(lang), theme == DARK, run_one_at_a_time)
        if drawn is not None:
            return drawn
    stored = runs_service().stored(run)
    if stored is None or stored.chart_base64 is None:
        raise NoResult(run_id, run.status)
    _, _, encoded = stored.chart_base64.partition(",")
    return base64.b64decode(encoded)


def words_of_figure(lang: str) -> dict[str, str]:
    """The words of a language; none for English."""
    if lang == ENGLISH:
        return {}
    return {word: catalogue(lang).gettext(word) for word in FIGURE_WORDS}


@bp.get("/result/<run_id>/chart.json")
@describe(
    cached("The points of the chart.", json_of("Chart")),
    query(
        "first", "number of the first bar", type="integer", minimum=0, maximum=MAX_BAR, default=0
    ),
    query(
        "end",
        "number of the bar after the last; without it the last bar of the run is the last",
        type="integer",
        minimum=1,
        maximum=MAX_BAR,
    ),
    errors=(400, 404),
)
def chart(run_id: str) -> Response:
    """The bars of a run, as many as there are pixels; with `first` and `end` a part of them."""
    g.run_id = run_id
    first = whole_number("first", request.args.get("first", "0"), 0, MAX_BAR)
    end = None
    if request.args.get("end"):
        end = whole_number("end", request.args["end"], 1, MAX_BAR)
    view = view_of(runs_service(), runs_service().backtest(run_id), run_in_native_thread)
    return conditional(Response(view.chart(first, end), mimetype="application/json"))


@bp.get("/result/<run_id>/report")
@describe(
    cached("One file of HTML, with everything in it.", text_of("text/html")),
    query("lang", "its language; without it that of the reader", enum=["", *LANGUAGES]),
    errors=(400, 404),
)
def report(run_id: str) -> Response:
    """The result as one file to hand on: it needs no network and no other file."""
    g.run_id = run_id
    choice_in_query("lang", tuple(LANGUAGES))
    run = runs_service().backtest(run_id)
    view = view_of(runs_service(), run, run_in_native_thread)
    style = report_style()
    page = render_template(
        "report.html",
        run=run,
        result=view.result,
        page=page_values(view),
        rows=trade_rows(view)[:MAX_TRADES_IN_A_REPORT],
        style=Markup(style),  # noqa: S704  our own style sheet
        figure=_data_url(_figure(run_id, language(), LIGHT, is_large=True)),
        dark_figure=_data_url(_figure(run_id, language(), DARK)),
        shown=shown,
        price=price_text,
        told=told,
        utc=utc,
    )
    response = Response(page, mimetype="text/html")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    response.headers["Content-Security-Policy"] = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; frame-ancestors 'none'"
    )
    name = f"{run.ticker}-{run.rule_id}-{run_id[:8]}.html".replace(",", "+")
    safe_name = re.sub(r"[^\w.+()=^-]", "_", name)
    response.headers["Content-Disposition"] = f'inline; filename="{safe_name}"'
    return conditional(response)


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


@cache
def report_style() -> str:
    """The style sheet of the pages, which the report carries with it."""
    return (ROOT / "static" / "style.css").read_text()


@bp.get("/lightweight-charts.js")
@describe(cached("The script.", {"text/javascript": {}}), needs_database=False)
def charts_library() -> Response:
    """TradingView's Lightweight Charts, from the installed package."""
    return conditional(Response(_charts_library(), mimetype="text/javascript"))


@cache
def _charts_library() -> bytes:
    package = find_spec("litecharts")
    assert package is not None
    assert package.submodule_search_locations
    folder = Path(package.submodule_search_locations[0])
    return (folder / "js" / "lightweight-charts.js").read_bytes()


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
