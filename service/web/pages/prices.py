"""Prices: which there are, what they are, and new ones from files."""

from __future__ import annotations

import logging
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    make_response,
    render_template,
    request,
)

from service.contract.errors import InvalidRequest, NotAWriter, UnknownPrices, UserError
from service.contract.fetch import VENDORS
from service.contract.request import file_stem, in_capitals, is_ticker
from service.usecases.fetches import FIRST_DAY
from service.usecases.names import found_by
from service.usecases.price_files import (
    MAX_FINDINGS,
    Judged,
    KnownPrices,
    judged,
    known_prices,
    known_ticker,
    refused_as_second,
    stored,
    ticker_in_name,
)
from service.web import price_chart
from service.web.errors import retry_after, sentence, status_of, wants_json
from service.web.forms.submission import quoted
from service.web.middleware.auth import client_name
from service.web.middleware.conditional import conditional
from service.web.openapi.document import (
    Content,
    answer,
    describe,
    json_of,
    not_modified,
    query,
    text_of,
)
from service.web.openapi.document import schema as openapi_schema
from service.web.pages.common import ETAG_OF_JSON, PAGE_OR_JSON, checked_choice, choice_in_query
from service.web.presentation import ticker_document, utc, version_document
from service.web.server.event_loop import run_in_native_thread, run_one_at_a_time
from service.web.services import runs_service, services_of
from service.web.warnings import said, said_refusal, told

logger = logging.getLogger(__name__)

bp = Blueprint("prices", __name__)

SHOWN_BARS = 3
SHOWN_ENDS = 5
MAX_SHOWN_FINDINGS = 100
MAX_SHOWN_TICKERS = 200
MAX_SHOWN_ACTIONS = 100
MAX_NAME_CHARACTERS = 100
EXAMPLE_TICKER = "GOOG"
STORE, CHECK = "store", "check"
TAKE_FILES = ("prices.upload", "prices.put")  # endpoints
UPLOAD: Content = {"multipart/form-data": {"schema": openapi_schema("PriceFiles")}}
ANY_FILE: Content = {
    "text/csv": {"schema": {"type": "string"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}
DRY_RUN = query("dry_run", "`true` stores nothing", enum=["true", "false"], default="false")


@bp.get("/prices")
@describe(
    {
        200: answer(
            "The tickers with prices.",
            {**json_of("Tickers"), **text_of("text/html")},
            ETAG_OF_JSON,
        ),
        304: not_modified(),
    },
    query("ticker", "fills the form with it, or with the name of one"),
    query("q", "only tickers that begin so, or have a name with this in it"),
    PAGE_OR_JSON,
    errors=(412,),
)
def prices() -> Response:
    """The tickers with prices, and a form for files with new ones."""
    if wants_json():
        tickers = found_by(request.args.get("q", ""), runs_service().price_store.tickers())
        return conditional(jsonify(tickers=[ticker_document(each) for each in tickers]))
    return make_response(_page(request.args.get("ticker", "")))


@bp.post("/prices")
@describe(
    {
        200: answer(
            "What became of each file; a refused one keeps no other from being stored.",
            {**json_of("PriceReports"), **text_of("text/html")},
        )
    },
    PAGE_OR_JSON,
    body=UPLOAD,
    errors=(400, 403, 413),
)
def upload() -> Response:
    """Stores the prices of the files, or only says what they are, with `action=check`."""
    files = _sent_files()
    ticker = request.form.get("ticker", "").strip()
    name = request.form.get("name", "")
    is_stored = _is_to_be_stored(request.form.get("action", STORE))
    if not files:
        return _refused_form(
            InvalidRequest("No file has come: choose at least one; its name must be UTF-8."), ticker
        )
    if (ticker or name.strip()) and len(files) > 1:
        error = InvalidRequest(
            "A ticker and a name go with one file; several are named by their files."
        )
        return _refused_form(error, ticker)
    reports: list[Judged] = []
    for file_name, data in files:
        known = {report.ticker for report in reports if report.refusal is None}
        reports.append(_taken(file_name, data, ticker, is_stored, known))
        _keep_name(reports[-1], name)
    status = 400 if all(report.refusal for report in reports) else 200
    if wants_json():
        # Of several files each says for itself what became of it.
        return make_response(jsonify(files=[each.document() for each in reports]), 200)
    return make_response(_page("", reports), status)


@bp.post("/prices/<path:ticker>")
@describe(
    {200: answer("What was stored.", json_of("PriceReport"))},
    DRY_RUN,
    query("name", "a name of the ticker, by which it is found too"),
    body=ANY_FILE,
    errors=(400, 403, 413),
)
def put(ticker: str) -> Response:
    """Stores the file in the body as the prices of a ticker; it is CSV, or Parquet."""
    is_dry = choice_in_query("dry_run", ("true", "false")) == "true"
    report = _taken("", request.get_data(), ticker, not is_dry)
    if report.refusal is not None:
        raise report.refusal
    _keep_name(report, request.args.get("name", ""))
    return make_response(jsonify(report.document()))


@bp.get("/prices/<path:ticker>")
@describe(
    {
        200: answer(
            "What is stored of a ticker, and what is to be known about it.",
            {**json_of("Prices"), **text_of("text/html")},
            ETAG_OF_JSON,
        ),
        304: not_modified(),
    },
    PAGE_OR_JSON,
    errors=(404, 412),
)
def of_ticker(ticker: str) -> Response:
    """The prices of a ticker, by its name too: chart, findings, dividends, earlier versions."""
    store = runs_service().price_store
    known = store.ticker(known_ticker(ticker, store))
    if known is None:
        raise UnknownPrices(quoted(ticker))
    found = known_prices(known, store, run_in_native_thread)
    if wants_json():
        return conditional(jsonify(_document(found)))
    return make_response(_page_of_ticker(found))


def _document(found: KnownPrices) -> dict[str, Any]:
    return {
        **ticker_document(found.ticker),
        "findings": [finding.document() for finding in found.findings[:MAX_FINDINGS]],
        "missing_sessions": found.missing_sessions,
        "actions": [action.document() for action in found.actions],
        "versions": [version_document(version) for version in found.versions],
    }


def _sent_files() -> list[tuple[str, bytes]]:
    """Names and contents. A browser sends an empty one without a name where none was chosen."""
    files = [(file.filename or "", file.stream.read()) for file in request.files.getlist("files")]
    return [(name, data) for name, data in files if name or data]


def may_store() -> bool:
    """Whether the user is one of those who may store prices."""
    writers = services_of(current_app).price_writers
    return not writers or client_name() in writers


def _is_to_be_stored(action: str) -> bool:
    return checked_choice("action", action, (STORE, CHECK)) == STORE


def _taken(
    name: str, data: bytes, ticker: str, is_stored: bool, known: Collection[str] = ()
) -> Judged:
    """The file judged, and stored where that is asked; `known` are tickers of the same request.

    Raises NotAWriter.
    """
    if is_stored and not may_store():
        raise NotAWriter
    store = runs_service().price_store
    ticker = known_ticker(ticker or ticker_in_name(name), store)
    report: Judged = run_one_at_a_time(judged, name, data, ticker)
    if report.ticker in known:
        return refused_as_second(report)
    if not is_stored:
        return report
    report = stored(report, store, client_name())
    if report.is_stored:
        template = "Prices stored: ticker=%s, bars=%d, fingerprint=%s, client=%s"
        found = report.range
        logger.info(
            template, report.ticker, found["bars"], found["prices_fingerprint"], client_name()
        )
    return report


def _keep_name(report: Judged, name: str) -> None:
    """Gives the name to the ticker whose prices were stored."""
    if report.is_stored and name.strip():
        runs_service().price_store.add_names([(name, report.ticker)])


def _refused_form(error: UserError, ticker: str) -> Response:
    if wants_json():
        raise error
    return page_of_refusal(error, ticker)


def page_of_refusal(
    error: UserError, ticker: str, fetch: Mapping[str, str] | None = None
) -> Response:
    """The page with why a form on it was refused, and what was typed in it.

    `ticker` is that of the form for files, `fetch` the fields of the other form.
    """
    page = make_response(_page(ticker, message=sentence(error), fetch=fetch), status_of(error))
    return retry_after(page, error.retry_after_s)


def _page(
    asked: str,
    reports: Sequence[Judged] = (),
    message: str = "",
    fetch: Mapping[str, str] | None = None,
) -> str:
    """`asked` is the ticker that the forms begin with, or the name of one."""
    searched = request.args.get("q", "")
    tickers = runs_service().price_store.tickers()
    found = found_by(searched, tickers)
    is_name = bool(asked) and not is_ticker(in_capitals(asked))
    ticker = "" if is_name else asked
    return render_template(
        "prices.html",
        count=len(tickers),
        searched=searched,
        tickers=found[:MAX_SHOWN_TICKERS],
        more=max(0, len(found) - MAX_SHOWN_TICKERS),
        ticker=ticker,
        file_of_ticker=shlex.quote(f"{file_stem(ticker or EXAMPLE_TICKER)}.csv"),
        ticker_in_shell=shlex.quote(ticker or EXAMPLE_TICKER),
        fetch=fetch or {"tickers": ticker, "start_date": FIRST_DAY.isoformat()},
        name=asked if is_name else "",
        most_characters=MAX_NAME_CHARACTERS,
        reports=reports,
        message=message,
        faulty="",
        shown_bars=SHOWN_BARS,
        may_store=may_store(),
        price_command=services_of(current_app).price_import.command,
        vendors={name: VENDORS[name] for name in services_of(current_app).price_vendors},
        max_megabytes=services_of(current_app).max_upload_bytes // 2**20,
        **_words(),
    )


def _page_of_ticker(found: KnownPrices) -> str:
    bars, actions = found.bars, found.actions
    shown = found.findings[:MAX_FINDINGS]
    return render_template(
        "price.html",
        ticker=found.ticker,
        bars=bars,
        ends=SHOWN_ENDS,
        line=price_chart.line_of(bars),
        width=price_chart.WIDTH,
        height=price_chart.HEIGHT,
        marks=price_chart.marks_of(bars, [(each.day, each.message) for each in shown]),
        dividends=price_chart.marks_of(
            bars, [(str(each.day), "") for each in actions if each.dividend]
        ),
        splits=price_chart.marks_of(bars, [(str(each.day), "") for each in actions if each.split]),
        findings=found.findings,
        counts=Counter(finding.code for finding in found.findings).most_common(),
        missing_sessions=found.missing_sessions,
        actions=list(reversed(actions))[:MAX_SHOWN_ACTIONS],
        more_actions=max(0, len(actions) - MAX_SHOWN_ACTIONS),
        versions=found.versions,
        **_words(),
    )


def _words() -> dict[str, Any]:
    return {
        "said": said,
        "utc": utc,
        "told": told,
        "said_refusal": said_refusal,
        "most_findings": MAX_SHOWN_FINDINGS,
    }
