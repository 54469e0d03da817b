"""The forward record: what starred runs made of the bars that came after they were asked for."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, render_template

from service.web.errors import wants_json
from service.web.forward_page import forward_rows, problem_text
from service.web.openapi.document import answer, describe, json_of, text_of
from service.web.pages.common import PAGE_OR_JSON
from service.web.presentation import shown
from service.web.services import runs_service

bp = Blueprint("forward", __name__)


@bp.get("/forward")
@describe(
    {
        200: answer(
            "The starred runs and their records, at most 1,000, the newest first.",
            {**json_of("Forward"), **text_of("text/html")},
        )
    },
    PAGE_OR_JSON,
)
def forward() -> Response:
    """What starred runs made of bars that did not exist when they were asked for."""
    found = runs_service().run_store.starred_forward()
    if wants_json():
        return jsonify(
            records=[
                {
                    "run_id": run.run_id,
                    "ticker": run.ticker,
                    "rule_id": run.rule_id,
                    "record": None if record is None else dict(record.record),
                }
                for run, record in found
            ]
        )
    rows = forward_rows(found)
    page = render_template(
        "forward.html",
        rows=rows,
        counts={
            place: sum(row.place == place for row in rows) for place in ("inside", "below", "above")
        },
        shown=shown,
        problem_text=problem_text,
    )
    return make_response(page)
