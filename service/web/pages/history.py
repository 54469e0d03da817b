"""The list of all runs: searched, sorted, marked, cancelled and deleted."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask import (
    Blueprint,
    Response,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from service.contract.errors import InvalidRequest, UserError
from service.contract.request import in_capitals
from service.contract.status import Status
from service.store.finding import MAX_FOUND, NEWEST_FIRST, SORTED, Condition, Found, Place
from service.store.rows import Run
from service.usecases.marks import tags_in
from service.usecases.names import with_named_tickers
from service.usecases.run_query import FIELDS, checked_sort, conditions_of
from service.web.errors import sentence, status_of, wants_json
from service.web.forms.submission import LOCATION, has_form, quoted, read_json
from service.web.middleware.auth import client_name
from service.web.middleware.texts import plural, text
from service.web.openapi.document import answer, describe, json_of, query, text_of
from service.web.openapi.document import schema as openapi_schema
from service.web.pages.common import (
    PAGE_OR_JSON,
    Kinds,
    are_texts,
    checked_fields,
    is_text,
    whole_number,
)
from service.web.presentation import period_of, run_document, shown, utc
from service.web.services import marking, runs_service

logger = logging.getLogger(__name__)

bp = Blueprint("history", __name__)

DEFAULT_RUNS_ON_A_PAGE = 50
MAX_RUNS_ON_A_PAGE = 200
MAX_ROW_ID = 2**62
MAX_COUNT = 10**9
PLACE = "^[1-9][0-9]{0,17}(:.{1,200})?$"
TEXT_COLUMNS = ("ticker", "rule", "status", "start_date", "end_date")
SORTS = tuple(sign + name for name in SORTED for sign in ("", "-"))
LIST_ARGUMENTS = ("q", "sort", "limit", "before", "after", "ticker", "status")
BULK: Kinds = {
    "runs": (are_texts, "a list of run_ids"),
    "action": (is_text, "a text"),
    "tag": (is_text, "a text"),
}
ACTIONS = ("star", "unstar", "tag", "untag", "cancel", "delete")
# What was done, said on the list afterwards.
DONE: Mapping[str, Callable[[int], str]] = {
    "star": lambda count: plural(
        "%(count)s run has a star now.", "%(count)s runs have a star now.", count
    ),
    "unstar": lambda count: plural(
        "%(count)s run has no star now.", "%(count)s runs have no star now.", count
    ),
    "tag": lambda count: plural(
        "%(count)s run has the tag now.", "%(count)s runs have the tag now.", count
    ),
    "untag": lambda count: plural(
        "%(count)s run has lost the tag.", "%(count)s runs have lost the tag.", count
    ),
    "cancel": lambda count: plural(
        "%(count)s run was cancelled.", "%(count)s runs were cancelled.", count
    ),
    "delete": lambda count: plural(
        "%(count)s run was deleted.", "%(count)s runs were deleted.", count
    ),
}


@bp.get("/runs")
@describe(
    {200: answer("A page of the history.", {**json_of("Runs"), **text_of("text/html")})},
    query("q", "conditions such as `ticker=GOOG rule=RSI sharpe_ratio>0.8 tag=idea star`"),
    query("sort", "a minus before it for the largest first", enum=["", *SORTS]),
    query("ticker", "only its runs"),
    query("status", "only runs in this state", enum=["", *map(str, Status)]),
    query(
        "limit",
        "runs on a page",
        type="integer",
        minimum=1,
        maximum=MAX_RUNS_ON_A_PAGE,
        default=DEFAULT_RUNS_ON_A_PAGE,
    ),
    query("before", "only runs further down the list; `next` has it", type="string", pattern=PLACE),
    query(
        "after", "only runs further up the list; `previous` has it", type="string", pattern=PLACE
    ),
    PAGE_OR_JSON,
    errors=(400,),
)
def runs() -> Response:
    """The runs, the newest first or sorted, searched, at most 200 on a page."""
    try:
        found = _found()
        problem = ""
    except UserError as error:
        # What was typed stays in the field.
        if wants_json():
            raise
        found = Found([], 0, None, None)
        problem = sentence(error)
    marks = runs_service().run_store.marks_of([run.id for run in found.runs])
    previous = _list_url(after=found.previous)
    following = _list_url(before=found.next)
    if wants_json():
        return jsonify(
            runs=[run_document(run, marks[run.id]) for run in found.runs],
            count=found.count,
            previous=previous,
            next=following,
        )
    tags = runs_service().run_store.tags_in_use()
    page = render_template(
        "runs.html",
        found=found,
        marks=marks,
        query=_query_text(),
        sort=request.args.get("sort") or NEWEST_FIRST,
        problem=problem,
        previous=previous,
        following=following,
        list_url=_list_url,
        arguments=_arguments(),
        fields=FIELDS,
        tags=tags,
        choices=_choices(tags),
        done=_what_was_done(),
        most=MAX_FOUND,
        shown=shown,
        utc=utc,
        period_of=period_of,
    )
    return make_response(page, 400 if problem else 200)


def _choices(tags: Iterable[str]) -> dict[str, dict[str, object]]:
    """What completion knows of each field: how it goes on, what it means, its values."""
    choices: dict[str, dict[str, object]] = {}
    for name, field in FIELDS.items():
        operator = ">=" if ">=" in field.comparisons else field.comparisons[0]
        values = list(tags) if name == "tag" else list(field.choices)
        choices[name] = {"operator": operator, "meaning": text(field.meaning), "values": values}
    choices["star"] |= {"operator": "", "values": []}
    return choices


def _found() -> Found:
    """The page of the list that the query asks for; raises InvalidRequest."""
    sort = checked_sort(request.args.get("sort") or NEWEST_FIRST)
    limit = whole_number(
        "limit", request.args.get("limit", str(DEFAULT_RUNS_ON_A_PAGE)), 1, MAX_RUNS_ON_A_PAGE
    )
    return runs_service().run_store.find(
        _conditions(),
        sort,
        limit,
        after=_place_in_query("before", sort),
        before=_place_in_query("after", sort),
    )


def _conditions() -> list[Condition]:
    conditions = conditions_of(request.args.get("q", ""))
    ticker = in_capitals(request.args.get("ticker", ""))
    status = request.args.get("status", "")
    if ticker:
        conditions.append(Condition("ticker", "=", [ticker]))
    if status and status not in list(Status):
        template = "There is no status {value}; there are {names}."
        raise InvalidRequest(template, value=quoted(status), names=", ".join(Status))
    if status:
        conditions.append(Condition("status", "=", [status]))
    return with_named_tickers(conditions, runs_service().price_store)


def _query_text() -> str:
    """All conditions as a user would write them."""
    parts = [request.args.get("q", "").strip()]
    for name in ("ticker", "status"):
        value = request.args.get(name, "").replace('"', "")
        if value:
            parts.append(f'{name}="{value}"' if " " in value else f"{name}={value}")
    return " ".join(part for part in parts if part)


def _place_in_query(name: str, sort: str) -> Place | None:
    """The end of the page before; raises InvalidRequest."""
    value = request.args.get(name)
    if value is None:
        return None
    number, colon, rest = value.partition(":")
    place_id = whole_number(name, number, least=1, most=MAX_ROW_ID)
    column = sort.removeprefix("-")
    if not colon or column == "asked":
        return Place(place_id)
    if column in TEXT_COLUMNS:
        return Place(place_id, rest)
    try:
        known = float(rest)
    except ValueError:
        known = math.nan
    if not math.isfinite(known):
        template = "{field} must be {what}; got {value}."
        what = "the place that another page of the list named"
        raise InvalidRequest(template, field=name, what=what, value=quoted(value))
    return Place(place_id, known)


def _place_text(place: Place) -> str:
    return str(place.id) if place.value is None else f"{place.id}:{place.value}"


def _list_url(
    sort: str | None = None, before: Place | None = None, after: Place | None = None
) -> str | None:
    """The address of the list with another order, or of its next or previous page."""
    if sort is None and before is None and after is None:
        return None
    arguments = {name: request.args.get(name) for name in ("limit", "ticker", "status")}
    return url_for(
        "history.runs",
        q=request.args.get("q") or None,
        sort=sort or request.args.get("sort") or None,
        before=None if before is None else _place_text(before),
        after=None if after is None else _place_text(after),
        **arguments,  # type: ignore[arg-type]
    )


def _arguments() -> dict[str, str]:
    """The part of the address that says what the list shows."""
    return {name: request.args[name] for name in LIST_ARGUMENTS if request.args.get(name)}


def _what_was_done() -> str:
    action = request.args.get("did", "")
    if action not in DONE:
        return ""
    count = whole_number("count", request.args.get("count", "0"), 0, MAX_COUNT)
    return DONE[action](count) % {"count": f"{count:,}"}


@bp.post("/runs/bulk")
@describe(
    {
        200: answer(
            "How many runs that changed, or the page that asks whether to delete.",
            {**json_of("Changed"), **text_of("text/html")},
        ),
        303: answer("A form leads back to the list.", text_of("text/html"), LOCATION),
    },
    PAGE_OR_JSON,
    errors=(400, 404, 413, 415),
    body={
        **json_of("Bulk"),
        "application/x-www-form-urlencoded": {"schema": openapi_schema("BulkForm")},
    },
)
def bulk() -> AnyResponse:
    """Marks, cancels or deletes up to 500 runs at once.

    A form comes from the list: the query says what that shows, and `only` is the run of a star.
    """
    is_form = has_form()
    if is_form:
        only = request.args.get("only")
        chosen_ids = [only] if only else request.form.getlist("run")
        names = [name for name in ("action", "tag") if name in request.form]
        fields: Any = {"runs": chosen_ids, **{name: request.form[name] for name in names}}
    else:
        fields = read_json()
    try:
        run_ids, action, tags = _checked_bulk(fields)
        chosen = marking().chosen(run_ids)
        if is_form and action == "delete" and request.form.get("confirmed") != "yes":
            return _confirmation(chosen)
        changed = _perform(action, chosen, tags)
    except UserError as error:
        if not is_form or wants_json():
            raise
        return _refused_bulk(error)
    logger.info("%s of %d runs: %d changed, client=%s", action, len(chosen), changed, client_name())
    if not is_form:
        return jsonify(changed=changed)
    arguments: dict[str, Any] = {**_arguments()}
    if "only" in request.args:
        arguments["_anchor"] = f"run-{chosen[0].run_id}"
    else:
        arguments |= {"did": action, "count": changed}
    return redirect(url_for("history.runs", **arguments), 303)


def _checked_bulk(fields: Any) -> tuple[Sequence[str], str, list[str]]:
    """Run_ids, action and tags of the body; raises InvalidRequest."""
    checked = checked_fields(fields, BULK)
    for name in ("runs", "action"):
        if name not in checked:
            raise InvalidRequest("{field} is missing.", field=name)
    action = checked["action"]
    if action not in ACTIONS:
        names = ", ".join(ACTIONS)
        template = "{field} must be one of {names}; got {value}."
        raise InvalidRequest(template, field="action", names=names, value=quoted(action))
    tags = tags_in(checked.get("tag", "")) if action in ("tag", "untag") else []
    if action in ("tag", "untag") and not tags:
        raise InvalidRequest("{field} is missing.", field="tag")
    return checked["runs"], action, tags


def _perform(action: str, chosen: Sequence[Run], tags: Sequence[str]) -> int:
    perform: Mapping[str, Callable[[], int]] = {
        "star": lambda: marking().star(chosen, is_starred=True),
        "unstar": lambda: marking().star(chosen, is_starred=False),
        "tag": lambda: marking().tag(chosen, added=tags),
        "untag": lambda: marking().tag(chosen, removed=tags),
        "cancel": lambda: marking().cancel(chosen),
        "delete": lambda: marking().delete(chosen),
    }
    return perform[action]()


def _refused_bulk(error: UserError) -> Response:
    """The page on which the choice and the tag can be corrected."""
    page = render_template(
        "bulk_refused.html",
        message=sentence(error),
        run_ids=request.form.getlist("run"),
        tag=request.form.get("tag", ""),
        action=request.form.get("action", ""),
        arguments=_arguments(),
    )
    return make_response(page, status_of(error))


def _confirmation(chosen: Sequence[Run]) -> Response:
    """The page that says what would go."""
    page = render_template(
        "delete.html",
        ended=[run for run in chosen if run.status.final],
        unfinished=[run for run in chosen if not run.status.final],
        arguments=_arguments(),
        shown=shown,
        utc=utc,
        period_of=period_of,
    )
    return make_response(page)
