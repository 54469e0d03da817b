"""OpenAPI 3.1 of the routes, from one definition: each view says beside itself what it answers (`describe`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import cleandoc
from typing import Any, TypeVar

from flask import Flask
from werkzeug.routing import Rule

from service.web.middleware.auth import OPEN, Login
from service.web.openapi.schemas import SCHEMAS

View = TypeVar("View", bound=Callable[..., Any])
Content = Mapping[str, Mapping[str, Any]]

ERRORS = {
    400: "The input is wrong; the sentence says what and how to mend it.",
    401: "Nobody is logged in.",
    403: "The request comes from a page of another site.",
    404: "There is no such thing.",
    409: "It is in another state than that asks for.",
    412: "It is not as If-Match has it.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    416: "The file has no such range.",
    429: "Too many; Retry-After says when to try again.",
    503: "The database is away; Retry-After says when to try again.",
}
INFO = """Backtests of stock trading rules, each as a job of its own.

Every error has one shape, Error; browsers (whose Accept names text/html) get it as a page. Sentences are in the
language of Accept-Language, English or Korean. Retry-After and poll_after_s say when to ask again."""
RETRY = {
    "Retry-After": {
        "required": True,
        "description": "in seconds",
        "schema": {"type": "integer", "minimum": 1},
    }
}
ETAG = {
    "ETag": {"required": True, "description": "for If-None-Match", "schema": {"type": "string"}}
}
SECURITY = {
    "basic": {"type": "http", "scheme": "basic"},
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "python -m scripts.make_login --token NAME",
    },
}


@dataclass(frozen=True)
class Answer:
    """One status of one route."""

    description: str
    content: Content
    headers: Mapping[str, Any]
    links: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The Response Object."""
        parts = {
            "headers": dict(self.headers),
            "content": dict(self.content),
            "links": dict(self.links),
        }
        return {
            "description": self.description,
            **{name: part for name, part in parts.items() if part},
        }


@dataclass(frozen=True)
class Operation:
    """What one view takes and answers."""

    answers: Mapping[int, Answer]
    parameters: Sequence[Mapping[str, Any]] = ()
    body: Content | None = None
    needs_database: bool = True


def describe(
    answers: Mapping[int, Answer],
    *parameters: Mapping[str, Any],
    errors: Sequence[int] = (),
    body: Content | None = None,
    needs_database: bool = True,
) -> Callable[[View], View]:
    """Decorates a view; its docstring is the text. 401, 403, 429 and 503 are added where they can happen."""

    def keep(view: View) -> View:
        known = {**answers, **{status: error(status) for status in errors}}
        view.operation = Operation(known, parameters, body, needs_database)  # type: ignore[attr-defined]
        return view

    return keep


def schema(name: str) -> dict[str, Any]:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(name: str, **examples: Any) -> Content:
    """A JSON body of one of SCHEMAS."""
    named = (
        {"examples": {key: {"value": value} for key, value in examples.items()}} if examples else {}
    )
    return {"application/json": {"schema": schema(name), **named}}


def text_of(media_type: str) -> Content:
    """A body that is a text."""
    return {media_type: {"schema": {"type": "string"}}}


def answer(
    description: str,
    content: Content,
    headers: Mapping[str, Any] | None = None,
    leads_to: Sequence[str] = (),
) -> Answer:
    """An answer that is no error; `leads_to`: the endpoints of what can be asked with its run_id."""
    names = [endpoint.replace(".", "_") for endpoint in leads_to]
    links = {
        name: {"operationId": name, "parameters": {"run_id": "$response.body#/run_id"}}
        for name in names
    }
    return Answer(description, content, headers or {}, links)


def cached(description: str, content: Content) -> dict[int, Answer]:
    """200 with an ETag, 304 for whoever has it already, 412 for whoever insists on another."""
    same = Answer("As If-None-Match has it.", {}, ETAG)
    return {200: Answer(description, content, ETAG), 304: same, 412: error(412)}


def error(status: int) -> Answer:
    """An error in the one shape."""
    return Answer(
        ERRORS[status],
        {**json_of("Error"), **text_of("text/html")},
        RETRY if status in (429, 503) else {},
    )


def query(name: str, description: str, **kind: Any) -> dict[str, Any]:
    """An optional query parameter."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": kind or {"type": "string"},
    }


def document(app: Flask, login: Login, base_path: str) -> dict[str, Any]:
    """The whole document; raises AttributeError for a view that `describe` has not seen."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
            paths.setdefault(path, {})[method.lower()] = _operation(app, rule, method, login)
    components: dict[str, Any] = {"schemas": SCHEMAS}
    if login.mode != "none":
        components["securitySchemes"] = (
            SECURITY if login.mode == "basic" else {"token": SECURITY["token"]}
        )
    info = {"title": "Stock Backtesting Platform", "version": "1", "description": INFO}
    servers = [{"url": base_path or "/"}]
    return {
        "openapi": "3.1.0",
        "info": info,
        "servers": servers,
        "paths": paths,
        "components": components,
    }


def _operation(app: Flask, rule: Rule, method: str, login: Login) -> dict[str, Any]:
    view: Any = app.view_functions[rule.endpoint]
    operation: Operation = view.operation
    guarded = login.mode != "none" and rule.endpoint not in OPEN
    more = {401: guarded, 403: method == "POST", 429: guarded and login.mode == "basic"}
    more[503] = operation.needs_database and 503 not in operation.answers
    answers = {
        **operation.answers,
        **{status: error(status) for status, wanted in more.items() if wanted},
    }
    described: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_"),
        "summary": cleandoc(view.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": [*_path_parameters(rule), *operation.parameters],
        "responses": {str(status): answers[status].document() for status in sorted(answers)},
    }
    described["responses"]["default"] = Answer(
        "No HTTP (400), or a crash (500) that the log has.", error(400).content, {}
    ).document()
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": dict(operation.body)}
    if guarded:
        described["security"] = [
            {name: []} for name in (SECURITY if login.mode == "basic" else ("token",))
        ]
    return described


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
