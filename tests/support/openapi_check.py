"""A client that holds every answer against /openapi.json, and remembers which answers it saw."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator, FormatChecker
from werkzeug.test import TestResponse

from service.web.openapi.document import openapi_document
from service.web.services import services_of

Seen = set[tuple[str, str, int]]


class CheckedClient(FlaskClient):
    """Raises AssertionError when an answer is not as described."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.seen: Seen = set()

    def open(self, *args: Any, **kwargs: Any) -> TestResponse:
        answer = super().open(*args, **kwargs)
        described = described_by(self.application)
        operation = operation_of(described, self.application, answer)
        if operation is not None:
            path, method = operation
            self.seen.add((method, path, answer.status_code))
            check(described, described["paths"][path][method], answer)
        return answer


@cache
def described_by(app: Flask) -> dict[str, Any]:
    """The OpenAPI document of an application, made once."""
    return openapi_document(app, services_of(app).login, "")


def operation_of(
    described: dict[str, Any], app: Flask, answer: TestResponse
) -> tuple[str, str] | None:
    """Path and method as the document has them; None for what it does not describe."""
    method = answer.request.method.lower()
    for path, operations in described["paths"].items():
        pattern = re.sub(
            r"\\{(\w+)\\}", lambda name: ".+" if name[1] == "filename" else "[^/]+", re.escape(path)
        )
        if re.fullmatch(pattern, answer.request.path) and method in operations:
            return path, method
    return None


def check(described: dict[str, Any], operation: dict[str, Any], answer: TestResponse) -> None:
    """Raises AssertionError where status, headers or content are not as the operation says."""
    responses = operation["responses"]
    response = responses.get(str(answer.status_code), responses["default"])
    is_declared = str(answer.status_code) in responses or _may_be_undeclared(answer)
    assert is_declared, f"undeclared {answer.status_code}"
    for name, header in response.get("headers", {}).items():
        assert name in answer.headers or not header["required"], f"{name} is missing"
    check_content(described, response.get("content", {}), answer)


def _may_be_undeclared(answer: TestResponse) -> bool:
    """Whether the server failed, or the request was no HTTP."""
    is_no_http = answer.status_code == 400 and "Bad Request." in answer.text
    return answer.status_code == 500 or is_no_http


def check_content(described: dict[str, Any], content: dict[str, Any], answer: TestResponse) -> None:
    """Raises AssertionError where the content is of another type, or not as its schema says."""
    if "*/*" in content:
        return
    if answer.mimetype not in content:
        is_empty = not content and not answer.data
        assert is_empty, f"undeclared {answer.mimetype}"
        return
    if answer.mimetype == "application/json":
        faults = list(faults_of(described, content["application/json"]["schema"], answer.json))
        assert not faults, faults


def faults_of(described: dict[str, Any], schema: dict[str, Any], body: object) -> Iterator[str]:
    validator = Draft202012Validator(
        {**schema, "components": described["components"]},
        format_checker=FormatChecker(["date", "date-time"]),
    )
    yield from (
        f"{list(error.path)}: {error.message}"[:300] for error in validator.iter_errors(body)
    )
