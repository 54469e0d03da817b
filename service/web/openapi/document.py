"""OpenAPI 3.1 of the routes, made of what `describe` says beside each view."""

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
    400: "The input is wrong; the sentence says what, and how to correct it.",
    401: "Nobody is logged in.",
    403: "The request comes from a page of another site.",
    404: "There is no such page, run or file.",
    409: "The run has ended already, or another request has its run_id.",
    412: "The content is not the one that If-Match names.",
    413: "The body is too large.",
    415: "The body is neither JSON nor a form.",
    416: "The file has no such range.",
    429: "There are too many requests; Retry-After says when to try again.",
    503: "The database cannot be reached; Retry-After says when to try again.",
}
INFO = (
    "Backtests of stock trading rules, each as a job of its own.\n\n"
    "Every error has one shape, Error; browsers (whose Accept names text/html) get it as a page."
    " Sentences are in the\n"
    "language of Accept-Language, English or Korean. Retry-After and poll_after_s say when to ask"
    " again."
)
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
    """The answer of a route with one status."""

    description: str
    content: Content
    headers: Mapping[str, Any]
    links: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The answer as a Response Object of OpenAPI."""
        document: dict[str, Any] = {"description": self.description}
        if self.headers:
            document["headers"] = dict(self.headers)
        if self.content:
            document["content"] = dict(self.content)
        if self.links:
            document["links"] = dict(self.links)
        return document


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
    """Decorates a view with what it takes and answers; its docstring becomes the summary.

    `errors` are the statuses of its errors; 401, 403, 429 and 503 are added where they can happen.
    """

    def keep(view: View) -> View:
        every_answer = {**answers, **{status: error(status) for status in errors}}
        operation = Operation(every_answer, parameters, body, needs_database)
        view.operation = operation  # type: ignore[attr-defined]
        return view

    return keep


def schema(name: str) -> dict[str, Any]:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{name}"}


def json_of(name: str, **examples: Any) -> Content:
    """A JSON body of one of SCHEMAS."""
    content: dict[str, Any] = {"schema": schema(name)}
    if examples:
        content["examples"] = {key: {"value": value} for key, value in examples.items()}
    return {"application/json": content}


def text_of(media_type: str) -> Content:
    """A body that is a text."""
    return {media_type: {"schema": {"type": "string"}}}


def answer(
    description: str,
    content: Content,
    headers: Mapping[str, Any] | None = None,
    leads_to: Sequence[str] = (),
) -> Answer:
    """An answer that is not an error; `leads_to` are the endpoints that take its run_id."""
    parameters = {"run_id": "$response.body#/run_id"}
    links = {}
    for endpoint in leads_to:
        name = _operation_id(endpoint)
        links[name] = {"operationId": name, "parameters": parameters}
    return Answer(description, content, headers or {}, links)


def cached(description: str, content: Content) -> dict[int, Answer]:
    """200 with an ETag, 304 where the client has the content already, 412 for another If-Match."""
    return {200: Answer(description, content, ETAG), 304: not_modified(), 412: error(412)}


def not_modified() -> Answer:
    """304, for a client that names the ETag of the content."""
    return Answer("The client has the content already: If-None-Match names it.", {}, ETAG)


def error(status: int) -> Answer:
    """The error with this status, in the shape that all errors have."""
    content = {**json_of("Error"), **text_of("text/html")}
    headers = RETRY if status in (429, 503) else {}
    return Answer(ERRORS[status], content, headers)


def query(name: str, description: str, **kind: Any) -> dict[str, Any]:
    """An optional query parameter."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": kind or {"type": "string"},
    }


def openapi_document(app: Flask, login: Login, base_path: str) -> dict[str, Any]:
    """The whole document; raises AttributeError for a view that `describe` does not decorate."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stock Backtesting Platform", "version": "1", "description": INFO},
        "servers": [{"url": base_path or "/"}],
        "paths": _paths(app, login),
        "components": _components(login),
    }


def _paths(app: Flask, login: Login) -> dict[str, dict[str, Any]]:
    paths: dict[str, dict[str, Any]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        operations = paths.setdefault(path, {})
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operations[method.lower()] = _operation(app, rule, method, login)
    return paths


def _components(login: Login) -> dict[str, Any]:
    components: dict[str, Any] = {"schemas": SCHEMAS}
    if login.mode != "none":
        components["securitySchemes"] = _security_schemes(login)
    return components


def _security_schemes(login: Login) -> dict[str, Any]:
    """The ways to log in; a trusted proxy logs users in by itself."""
    if login.mode == "basic":
        return SECURITY
    return {"token": SECURITY["token"]}


def _operation(app: Flask, rule: Rule, method: str, login: Login) -> dict[str, Any]:
    view: Any = app.view_functions[rule.endpoint]
    operation: Operation = view.operation
    needs_login = login.mode != "none" and rule.endpoint not in OPEN
    answers = dict(operation.answers)
    for status in _added_errors(operation, method, login, needs_login):
        answers[status] = error(status)
    responses = {str(status): answers[status].document() for status in sorted(answers)}
    responses["default"] = _any_other_answer().document()
    document: dict[str, Any] = {
        "operationId": _operation_id(rule.endpoint),
        "summary": cleandoc(view.__doc__ or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": [*_path_parameters(rule), *operation.parameters],
        "responses": responses,
    }
    if operation.body is not None:
        document["requestBody"] = {"required": True, "content": dict(operation.body)}
    if needs_login:
        document["security"] = [{name: []} for name in _security_schemes(login)]
    return document


def _added_errors(
    operation: Operation, method: str, login: Login, needs_login: bool
) -> Iterator[int]:
    """The statuses that no view answers itself."""
    if needs_login:
        yield 401
    if method == "POST":
        yield 403
    if needs_login and login.mode == "basic":
        yield 429
    if operation.needs_database and 503 not in operation.answers:
        yield 503


def _any_other_answer() -> Answer:
    description = "The request is not valid HTTP (400), or the server failed (500) and logged why."
    return Answer(description, error(400).content, {})


def _operation_id(endpoint: str) -> str:
    return endpoint.replace(".", "_")


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for name in sorted(rule.arguments):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
