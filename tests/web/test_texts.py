"""Every text of the pages is in the Korean catalogue, with the same placeholders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.extract import extract
from babel.messages.pofile import read_po
from flask.testing import FlaskClient

from rules.registry import BUILT_IN
from scripts.config import ROOT
from service.contract.documents import schema
from service.contract.errors import BatchRefused, NoteChanged
from service.contract.status import ATTACHED, HINTS, NO_CONTROLLER, Status
from service.engine.look import WORDS
from service.prices.files import dates, reading
from service.prices.files.text import OTHER_KINDS
from service.report.sheet import CRISES
from service.search import verdict
from service.search.result import KEEPS_POSITION, STAYS_IN_CASH
from service.usecases.marks import TAG_RULE
from service.usecases.run_query import FIELDS
from service.usecases.troubles import TROUBLES
from service.web import forward_page, tries_page, warnings
from service.web.errors import BAD_ROW, BUSY, INTERNAL, LOGIN_REFUSED, SENTENCES, UNAVAILABLE
from service.web.pages.history import BULK
from service.web.pages.marks import FORM_MARKS, MARKS
from service.web.presentation import FIELD_LABELS, LABELS, METRIC_GROUPS, METRICS
from service.web.result_doubt import (
    BAND_OF_ANOTHER_TIME,
    BREAKS_EVEN,
    CHANGES,
    FEW_BARS,
    FEW_TRADES,
    FRAGILE,
    LONG_ENOUGH,
    LONG_YEARS,
    LOSES_WITHOUT_COSTS,
    NOTHING_TO_LOSE,
    REGIMES,
    SKILL,
    STURDY,
    TOO_SHORT,
)
from service.web.sweep_page import JUDGED_BY_AN_EARLIER_RELEASE
from service.worker.forward import FAILED_PROBLEM, UNFINISHED_PROBLEM
from tests.support.requests import REQUEST, SWEEP

# A sentence of the frozen rules that does not end like one; en.po says it in other words too.
REWORDED = "None of the {count} combinations is a rule: {why}"
# Sentences of refused files without values in them
REFUSED = (
    *(advice for _, advice in OTHER_KINDS),
    "It is empty.",
    "It has no bars below its names.",
    "There is no such file.",
    "No file has come: choose at least one; its name must be UTF-8.",
    "A ticker and a name go with one file; several are named by their files.",
    "Prices are not fetched from vendors here; store them from files.",
    "You may not store prices here; ask the operator, who names those that may.",
)
PO = ROOT / "service" / "web" / "translations" / "ko.po"


def in_templates() -> Iterator[str]:
    for path in sorted((ROOT / "templates").glob("*.html")):
        with path.open("rb") as file:
            for _, message, _, _ in extract(
                "jinja2.ext:babel_extract", file, options={"newstyle_gettext": "true"}
            ):
                yield message if isinstance(message, str) else message[0]


def in_python() -> Iterator[str]:
    """What Python code gives to `text` and `plural`."""
    for path in sorted((ROOT / "service" / "web").rglob("*.py")):
        with path.open("rb") as file:
            for _, message, _, _ in extract("python", file, {"text": None, "plural": (1, 2)}):
                yield message if isinstance(message, str) else message[0]


def in_errors() -> Iterator[str]:
    """Sentences with {names}: string constants that look like one, where errors are raised."""
    for name in (
        "rules/base_rule.py",
        "rules/registry.py",
        "rules/optimizer.py",
        "rules/plugins.py",
        "service/contract",
        "service/engine",
        "service/search",
        "service/prices",
        "service/vendors",
        "service/usecases",
        "service/web",
    ):
        for path in (
            sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]
        ):
            for node in ast.walk(ast.parse(path.read_text())):
                if (
                    isinstance(node, ast.Constant)
                    and isinstance(node.value, str)
                    and is_sentence(node.value, path)
                ):
                    yield node.value


def is_sentence(text: str, path: Path) -> bool:
    words = re.sub(r"\{[a-z_]+\}", "", text)
    is_template = words != text and bool(re.search("[a-z]", words))
    return is_template and text.endswith((".", "?")) and "`" not in text


def in_data() -> Iterator[str]:
    yield from (status.value for status in Status)
    yield from ("long", "short")
    yield from WORDS
    yield from (*warnings.SENTENCES, *warnings.ERRORS, warnings.FACT_OF_A_COLUMN, *warnings.COLUMNS)
    yield from (crisis.name for crisis in CRISES)
    yield from (title for title, _ in METRIC_GROUPS)
    yield from LABELS.values()
    yield from FIELD_LABELS.values()
    yield from (field.meaning for field in FIELDS.values())
    yield from (what for _, what in MARKS.values())
    yield TAG_RULE
    yield from (*HINTS.values(), NO_CONTROLLER, ATTACHED)
    yield from TROUBLES
    yield from (*reading.NOTES, *dates.NOTES, reading.NO_PARQUET, *REFUSED)
    for metric in METRICS:
        yield from (metric.label, metric.meaning)
    for rule in BUILT_IN.values():
        yield rule.metadata.summary
        yield from (parameter.meaning for parameter in rule.metadata.parameters)
    for name in ("request.v1", "sweep.v1", "batch.v1", "fetch.v1"):
        for kind in schema(name)["properties"].values():
            yield from (kind[key] for key in ("description", "each") if key in kind)
    yield from (verdict.NOTHING_TRADED, verdict.NO_BETTER, verdict.SILENT, verdict.SKILL)
    yield from (verdict.LUCK, verdict.DOUBTED, verdict.UNSTEADY)
    yield from (*CHANGES.values(), *REGIMES.values(), STURDY, FRAGILE, NOTHING_TO_LOSE, SKILL)
    yield from (LONG_ENOUGH, TOO_SHORT, BREAKS_EVEN, LOSES_WITHOUT_COSTS, LONG_YEARS)
    yield from (FEW_TRADES, FEW_BARS, BAND_OF_ANOTHER_TIME)
    yield from (STAYS_IN_CASH, KEEPS_POSITION, JUDGED_BY_AN_EARLIER_RELEASE)
    yield from (tries_page.FIRST, tries_page.ONE_OF_MANY, tries_page.ABOUT_MANY)
    yield from (tries_page.SKILL, tries_page.LUCK, tries_page.FIRST_SKILL, tries_page.FIRST_LUCK)
    yield from (forward_page.NOT_STARRED, forward_page.NOTHING_YET, forward_page.SINCE)
    yield from (forward_page.MADE, forward_page.INSIDE, forward_page.BELOW, forward_page.ABOVE)
    yield from (forward_page.OTHER_PAST, forward_page.OTHER_RULE, forward_page.PROBLEM)
    yield from (FAILED_PROBLEM, UNFINISHED_PROBLEM)
    yield from (sentence for _, sentence in SENTENCES.values())
    yield from (BUSY, UNAVAILABLE, LOGIN_REFUSED, INTERNAL, BAD_ROW)
    yield from ("a finite number", "The request must be a JSON object.")
    yield REWORDED
    yield "A combination takes no params: write the numbers into its rules."
    yield "The grid is too long; write its values as start:stop:step."
    yield "Send row, or at.x and at.y, as a form."
    yield "There is no combination at that point of the figure."
    yield from (BatchRefused([]).template, NoteChanged().template)
    yield from (what for kinds in (BULK, FORM_MARKS) for _, what in kinds.values())
    yield "the place that another page of the list named"


NEEDED = sorted({*in_templates(), *in_python(), *in_errors(), *in_data()})
with PO.open("rb") as catalogue:
    KOREAN = {
        message.id if isinstance(message.id, str) else message.id[0]: (
            message.string if isinstance(message.string, str) else message.string[0]
        )
        for message in read_po(catalogue, locale="ko")
        if message.id
    }


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"\{\w+\}|%\(\w+\)s|%%", text))


@pytest.mark.parametrize("message", NEEDED)
def test_every_text_is_translated(message: str) -> None:
    korean = KOREAN.get(message, "")
    assert korean
    assert re.search("[가-힣]", korean)
    assert placeholders(korean) == placeholders(message)


def test_nothing_is_translated_in_vain() -> None:
    assert set(KOREAN) - set(NEEDED) == set()


def test_enough_texts_were_found() -> None:
    assert len(NEEDED) > 180


def test_the_sentence_of_a_search_without_a_valid_combination_is_plain(client: FlaskClient) -> None:
    document = {**SWEEP, "grid": {"fast": [60], "slow": [50]}}
    english = client.post("/sweeps", json=document).json
    assert english is not None
    assert english["error"].startswith("The rule allows none of the 1 combinations: MA_CROSS: fast")
    korean = client.post("/sweeps", json=document, headers={"Accept-Language": "ko"}).json
    assert korean is not None
    assert korean["error"].startswith(
        "규칙이 허용하는 조합이 1개 중 하나도 없습니다: MA_CROSS: fast"
    )


KO = {"Accept": "text/html", "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.5"}


def test_the_browser_chooses_the_language(client: FlaskClient) -> None:
    assert '<html lang="ko">' in client.get("/", headers=KO).text
    assert KOREAN["New backtest"] in client.get("/", headers=KO).text
    assert (
        '<html lang="en">'
        in client.get("/", headers={"Accept": "text/html", "Accept-Language": "fr"}).text
    )
    assert '<html lang="en">' in client.get("/", headers={"Accept": "text/html"}).text


def test_the_switch_and_its_cookie_choose_before_the_browser(client: FlaskClient) -> None:
    client.get("/?lang=en", headers=KO)
    assert '<html lang="en">' in client.get("/", headers=KO).text
    client.get("/runs?lang=ko", headers={"Accept": "text/html"})
    assert '<html lang="ko">' in client.get("/", headers={"Accept": "text/html"}).text
    assert '<html lang="ko">' in client.get("/?lang=tlh", headers={"Accept": "text/html"}).text


def test_the_switch_keeps_the_page(client: FlaskClient) -> None:
    text = client.get("/runs?ticker=A%26B&lang=ko", headers={"Accept": "text/html"}).text
    assert 'href="/runs?ticker=A%26B&amp;lang=en"' in text
    assert (
        'href="/%5Cevil.com?lang='
        in client.get("/%5Cevil.com", headers={"Accept": "text/html"}).text
    )
    refused = client.post("/backtest", data={"rule": "RSI"}, headers={"Accept": "text/html"}).text
    assert re.search(r'href="/\?lang=(ko|en)"', refused)


def test_errors_are_translated_too(client: FlaskClient) -> None:
    form = {
        "ticker": "NOPE{0}",
        "rule": "RSI",
        "start_date": "2013-01-02",
        "end_date": "2014-01-01",
    }
    text = client.post("/backtest", data=form, headers=KO).text
    assert "NOPE{0}" in text
    assert "ticker" in text
    assert re.search("받은 값", text)
    body = client.post("/backtest", json={}, headers={"Accept-Language": "ko"}).json
    assert re.search("[가-힣]", body["error"])  # type: ignore[index]


def test_what_somebody_typed_is_never_translated(client: FlaskClient) -> None:
    for rule_id in ("ALL(RSI_14_30_70,)", "_10_30", "Trades"):
        body = client.post(
            "/backtest", json={**REQUEST, "rule_id": rule_id}, headers={"Accept-Language": "ko"}
        )
        assert "Project-Id" not in body.text
        assert "거래" not in body.text
    assert "Project-Id" not in client.get("/runs?limit=", headers=KO).text
    assert "Project-Id" not in client.get("/?run=", headers=KO).text


def test_a_page_says_that_it_depends_on_the_language(client: FlaskClient) -> None:
    assert {"Accept-Language", "Cookie"} <= set(client.get("/").headers["Vary"].split(", "))
