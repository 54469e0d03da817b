"""Nonsense and malice at every place of a request: never a 5xx, a trace, or a file outside."""

from __future__ import annotations

import io
import json
import re
import string
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from werkzeug.test import EnvironBuilder, run_wsgi_app

from rules.registry import BUILT_IN
from service.usecases.runs import Runs
from service.web.forms.run import MEMBERS
from tests.support.requests import REQUEST, RUN_ID
from tests.support.web import BROWSER, CREDIT, FORM, completed, refused

INJECTIONS = [
    "' OR '1'='1",
    "'; DROP TABLE runs; --",
    '" OR ""="',
    "1; SELECT SLEEP(9)",
    "%' AND 1=0 UNION SELECT 1,2 --",
    "\\'; --",
    "{{7*191}}",
    "{{ config.items() }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{% endfor %}",
    "${7*191}",
    "{0.__class__}",
    "{ticker.__init__}",
    "%(ticker)s",
    "%s%s%n",
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "javascript:alert(1)",
    "../../../../etc/passwd",
    "\x00",
    "\r\nSet-Cookie: a=b",
    "\u202e\ufeff",
    "𝒳" * 50,
    "x" * 5000,
]
PATHS = [
    "//evil.example/",
    "//evil.example/..",
    "///evil.example",
    "//evil.example/%2e%2e",
    "/%2f%2fevil.example/",
    "/\\evil.example",
    "/%5cevil.example",
    "/%5c%5cevil.example/",
    "//evil.example//runs",
    "/%0d%0aSet-Cookie:%20a=b",
    "/%0d%0a",
    "/%00",
    "/%ff%fe",
    "/%e2%80%ae",
    "/..",
    "/../app.py",
    "/static/../app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e/app.py",
    "/static//etc/passwd",
    "/static/..%5capp.py",
    "/static/....//app.py",
    "/static/%00style.css",
    "/static/",
    "/static",
    "/static/style.css/",
    "/result/../runs",
    "/result/..%2f..%2fapp.py",
    "/result/%2e%2e",
    "//runs",
    "/runs//",
    "/runs/",
    "/status/%0d%0a",
    "/;/runs",
    "/runs;a=b",
    "/result//",
    "/@evil.example",
    "/https://evil.example/",
    "/http:/evil.example",
    "/?lang=ko&lang=//evil.example",
    "/runs/" + "x" * 5000 + "/cancel",
    "/" + "a/" * 2000,
]
HEADERS = [
    "Accept",
    "Accept-Language",
    "Accept-Encoding",
    "Authorization",
    "Content-Type",
    "Cookie",
    "If-None-Match",
    "If-Match",
    "If-Modified-Since",
    "If-Range",
    "Range",
    "Idempotency-Key",
    "Origin",
    "Referer",
    "Sec-Fetch-Site",
    "User-Agent",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Forwarded-User",
    "X-HTTP-Method-Override",
    "X-Original-URL",
]
NONSENSE = [
    "",
    ",",
    ";",
    "*",
    "*/*;q=x",
    "a/b/c",
    "text/html;q=-1",
    "text/html;" * 99,
    "=?utf-8?q?x?=",
    "\xff\xfe",
    '"',
    "bytes=9-1",
    "-1",
]


def harmless(answer: Any) -> None:
    assert answer.status_code < 500, answer.text[:300]
    assert "Traceback" not in answer.text
    assert "Set-Cookie" not in answer.headers or answer.headers["Set-Cookie"].startswith("lang=")
    place = urlsplit(answer.headers.get("Location", ""))
    assert (place.scheme, place.netloc) in (("", ""), ("http", "localhost"))
    assert not answer.headers.get("Location", "").startswith("//")
    if answer.mimetype == "text/html":
        for address in re.findall(r'(?:href|src|action)="([^"]*)"', answer.text):
            assert address == CREDIT or not urlsplit(address).netloc, address
            assert not address.startswith(("//", "/\\", "\\", "javascript:")), address


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("headers", [{}, BROWSER], ids=["program", "browser"])
def test_paths_lead_nowhere_else(client: FlaskClient, path: str, headers: dict[str, str]) -> None:
    for method in ("GET", "HEAD", "POST", "DELETE"):
        # as a server hands it over: neither split at // nor cleaned
        raw, _, query = path.partition("?")
        decoded = re.sub("%([0-9a-f]{2})", lambda code: chr(int(code[1], 16)), raw)
        answer = client.open(
            method=method,
            headers=headers,
            environ_overrides={"PATH_INFO": decoded, "QUERY_STRING": query},
            buffered=True,
        )
        harmless(answer)
        assert "def make_app" not in answer.text
        assert "root:" not in answer.text


def test_the_switch_of_language_stays_here(client: FlaskClient) -> None:
    for path in ("//evil.example/", "///evil.example/x", "/\\evil.example"):
        page = client.open(headers=BROWSER, environ_overrides={"PATH_INFO": path}).text
        (link,) = re.findall(r'href="([^"]+lang=ko)"', page)
        assert re.match(r"/[^/\\]", link), link


@pytest.mark.parametrize("text", INJECTIONS, ids=range(len(INJECTIONS)))
def test_injections_do_nothing_anywhere(client: FlaskClient, runs: Runs, text: str) -> None:
    for field in (*REQUEST, "run_id", "params", "initial_capital", "lot_size", "allow_short", text):
        refused_or_taken(client.post("/backtest", json={**REQUEST, field: text}))
    refused_or_taken(client.post("/backtest", json={**REQUEST, "params": {text: 1}}))
    for field in (*FORM, "mode", "force", text):
        refused_or_taken(client.post("/backtest", data={**FORM, field: text}, headers=BROWSER))
    for place in ("/", "/runs", "/docs", "/rules", "/metrics", "/health", f"/result/{RUN_ID}"):
        for name in (
            "run",
            "ticker",
            "status",
            "limit",
            "before",
            "format",
            "lang",
            "rule",
            "force",
            text,
        ):
            for headers in ({}, BROWSER):
                refused_or_taken(client.get(place, query_string={name: text}, headers=headers))
    assert all(run.ticker == "GOOG" for run in runs.run_store.latest(100))
    assert "1337" not in client.get("/runs", query_string={"ticker": text}, headers=BROWSER).text


def refused_or_taken(answer: Any) -> None:
    harmless(answer)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    if answer.mimetype != "application/json":
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text


@pytest.mark.parametrize(
    "run_id",
    [
        "0",
        "-1",
        "None",
        "null",
        "[]",
        "1e999",
        "ABCDEF11-1111-4111-8111-111111111111",
        RUN_ID[:-1],
        RUN_ID + "\n",
        "٣",
        "x" * 60_000,
    ],
)
def test_ids_of_another_type_are_refused(client: FlaskClient, run_id: str) -> None:
    for path in (
        "/status/{}",
        "/result/{}",
        "/result/{}/figure.png",
        "/result/{}/equity.csv",
        "/result/{}/trades.csv",
    ):
        refused(client.get(path.format(run_id)), 404, "NotFound", "There is no run")
    refused(client.post(f"/runs/{run_id}/cancel"), 404, "NotFound", "There is no run")
    assert client.post("/backtest", json={**REQUEST, "run_id": run_id}).status_code == 400


@pytest.mark.parametrize("value", [None, True, 0, 1e308, [], {}, [[]], {"a": {}}, "", -1])
@pytest.mark.parametrize("field", [*REQUEST, "run_id", "params", "initial_capital", "allow_short"])
def test_fields_of_another_type_never_crash(client: FlaskClient, field: str, value: object) -> None:
    answer = client.post("/backtest", json={**REQUEST, field: value})
    assert answer.status_code in (202, 400)


@pytest.mark.parametrize("name", HEADERS)
def test_long_and_nonsensical_headers_do_no_harm(
    client: FlaskClient, runs: Runs, name: str
) -> None:
    run_id = completed(client, runs)
    long = [
        "x" * 65_536,
        "a=b; " * 13_000,
        "text/html;q=0.5, " * 3_900,
        '"a", ' * 13_000,
        "," * 65_536,
    ]
    for value in (*long, *NONSENSE, *(text for text in INJECTIONS if text.isprintable())):
        value = value.encode().decode("latin-1")  # as a server hands over what is no ASCII
        for path in ("/", f"/result/{run_id}", "/nothing", "/static/app.js"):
            harmless(client.get(path, headers={name: value}, buffered=True))
        harmless(
            client.post(
                "/backtest",
                data=json.dumps(REQUEST),
                headers={"Content-Type": "application/json", name: value},
            )
        )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "",
        "a b",
        "a/b",
        "[::1",
        "a:b",
        "x" * 5000,
        "é",
        "<b>",
        "a@b",
        "localhost:99999999",
    ],
)
def test_a_host_that_is_none_does_no_harm(client: FlaskClient, runs: Runs, host: str) -> None:
    run_id = completed(client, runs)
    for path in ("/", f"/result/{run_id}", "/runs//", "/nothing"):
        for headers in ({}, BROWSER):
            answer = client.get(path, headers={**headers, "Host": host})
            assert answer.status_code < 500
            assert answer.mimetype == "application/json" or "<b>" not in answer.text


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "x",
        "application/json; charset=nonsense",
        "application/json\x0b",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "x" * 5000,
        "application/x-www-form-urlencoded; charset=utf-7",
        "text/json",
        "*/*",
        "application/json, text/html",
    ],
)
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"\xff", b"--x\r\n", b"a=%ff&b=%", b"&" * 9999, json.dumps(REQUEST).encode()],
)
def test_bodies_of_every_kind_are_accepted_or_refused(
    client: FlaskClient, kind: str, body: bytes
) -> None:
    for headers in ({}, BROWSER):
        assert client.post(
            "/backtest", data=body, headers=headers, content_type=kind
        ).status_code in (
            202,
            400,
            413,
            415,
        )


def test_bodies_that_do_not_say_how_long_they_are_are_bounded(
    client: FlaskClient, runs: Runs
) -> None:
    """Chunked: the server ends the stream, and no Content-Length says where."""
    for size, status in ((100, "202"), (70_000, "413"), (5_000_000, "413")):
        environ = EnvironBuilder(
            method="POST", path="/backtest", content_type="application/json"
        ).get_environ()
        environ.pop("CONTENT_LENGTH", None)
        body = io.BytesIO((json.dumps(REQUEST) + " " * size).encode())
        environ |= {
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "HTTP_TRANSFER_ENCODING": "chunked",
        }
        _, answered, _ = run_wsgi_app(client.application, environ)
        assert answered[:3] == status
        form = io.BytesIO(urlencode({**FORM, "MA_CROSS.slow": "9" * size}).encode())
        environ |= {"CONTENT_TYPE": "application/x-www-form-urlencoded", "wsgi.input": form}
        _, answered, _ = run_wsgi_app(client.application, environ)
        assert answered[:3] == ("400" if status == "202" else status)
    for fields in ({"a": "x" * 70_000}, {f"a{number}": "x" for number in range(3_000)}):
        answer = client.post(
            "/backtest", data={**FORM, **fields}, content_type="multipart/form-data"
        )
        refused(answer, 413, "TooLarge", "too large")
    file = {**FORM, "ticker": (io.BytesIO(b"x" * 70_000), "GOOG")}
    assert (
        client.post("/backtest", data=file, content_type="multipart/form-data").status_code == 413
    )
    many = {**FORM, **{f"{number}": "" for number in range(1100)}}
    assert (
        client.post("/backtest", data=many, content_type="multipart/form-data").status_code == 413
    )
    assert len(runs.run_store.latest(9)) == 1


def test_a_file_in_a_form_is_not_written_to_the_disk(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("Read-only file system")

    monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", refuse)
    head = 'Content-Disposition: form-data; name="ticker"; filename="x"'
    body = f"--b\r\n{head}\r\n\r\nGOOG\r\n--b--\r\n".encode()
    kind = "multipart/form-data; boundary=b"
    environ = EnvironBuilder(method="POST", path="/backtest", content_type=kind).get_environ()
    environ.pop("CONTENT_LENGTH", None)
    environ |= {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    _, status, _ = run_wsgi_app(client.application, environ)
    assert status[:3] == "400"


NAMES = st.sampled_from(
    [
        *FORM,
        *MEMBERS,
        "mode",
        "allow_short",
        "force",
        "rule_id",
        "params",
        "run_id",
        "MA_CROSS.slow.x",
        "RSI.period",
        ".",
        "",
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *FORM.values(),
            *BUILT_IN,
            "COMPOSITE",
            "ALL",
            "ANY",
            "on",
            "true",
            "nan",
            "-0",
            "1e999",
            "٣",
            *INJECTIONS,
        ]
    ),
    st.text(max_size=40),
    st.text(string.printable, max_size=40),
    st.floats().map(str),
    st.integers().map(str),
    st.dates().map(str),
)


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(
    changes=st.dictionaries(st.one_of(NAMES, st.text(max_size=9)), VALUES, max_size=8),
    kept=st.sets(st.sampled_from(sorted(FORM))),
    browser=st.booleans(),
)
def test_any_form_is_accepted_or_refused(
    client: FlaskClient, changes: dict[str, str], kept: set[str], browser: bool
) -> None:
    form = {**{name: FORM[name] for name in kept}, **changes}
    answer = client.post("/backtest", data=form, headers=BROWSER if browser else {})
    assert answer.status_code in (303, 400, 409, 415, 429)
    harmless(answer)
    harmless(client.get("/", query_string=form, headers=BROWSER))


@pytest.mark.parametrize("first", [True, False])
def test_a_part_of_a_form_without_a_name_is_refused(
    client: FlaskClient, runs: Runs, first: bool
) -> None:
    """Werkzeug has None for it."""
    parts = ["\r\n\r\n", '; name="ticker"\r\n\r\nGOOG']
    body = "".join(
        f"--b\r\nContent-Disposition: form-data{part}\r\n"
        for part in (parts if first else parts[::-1])
    )
    answer = client.post(
        "/backtest",
        data=f"{body}--b--\r\n".encode(),
        content_type="multipart/form-data; boundary=b",
    )
    assert answer.status_code == 400
    assert runs.run_store.latest(1) == []
