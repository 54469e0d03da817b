"""Puts the web application together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from typing import IO, Any

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from scripts.config import ROOT
from scripts.logger_config import WSGI_RUN_ID, current_run_id, run_context
from service.usecases.runs import Runs
from service.web import errors
from service.web.middleware import auth, conditional, metrics, origin, texts
from service.web.middleware.auth import Login
from service.web.openapi.document import answer, cached, describe
from service.web.pages import api, docs, files, health, sweeps
from service.web.pages import runs as pages

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def create_app(
    runs: Runs,
    schema_problem: Callable[[], str],
    max_body_bytes: int = 65_536,
    login: Login | None = None,
) -> Flask:
    """The application around a service; it keeps nothing on disk and nothing between two requests."""
    app = Flask(
        "service.web", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static")
    )
    app.request_class = _Request
    app.config.update(MAX_CONTENT_LENGTH=max_body_bytes, MAX_FORM_MEMORY_SIZE=max_body_bytes)
    app.url_map.merge_slashes = False  # else //a/b is redirected, to whatever Host says
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    app.extensions.update(runs=runs, schema_problem=schema_problem)
    for part in (pages, sweeps, api, files, health, docs):
        app.register_blueprint(part.bp)
    app.view_functions["static"].__doc__ = "A style sheet, script or picture of the pages."
    file = {**cached("The file.", {"*/*": {}}), 206: answer("A part of it.", {"*/*": {}})}
    describe(file, errors=(404, 416), needs_database=False)(app.view_functions["static"])
    errors.install(app)
    metrics.install(app, runs.run_store)  # before whatever refuses: it counts that too
    texts.install(app)
    conditional.install(app)
    app.after_request(_add_headers)
    _log_with_run_id(app)
    origin.install(app)
    auth.install(app, login or Login())
    return app


class _Request(Request):
    """Keeps a file in a form in memory, where the limit of the body bounds it; Werkzeug may write it to the disk."""

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return BytesIO()


def put_behind(app: Flask, application_root: str, proxy_hops: int) -> None:
    """Serves everything below that path (nothing beside it), and believes that many proxies about the outside."""
    base = application_root.rstrip("/")
    if base:
        app.wsgi_app = DispatcherMiddleware(NotFound(), {base: app.wsgi_app})  # type: ignore[method-assign]
    if proxy_hops:
        hops = dict.fromkeys(("x_for", "x_proto", "x_host"), proxy_hops)
        app.wsgi_app = ProxyFix(app.wsgi_app, **hops)  # type: ignore[method-assign]


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _log_with_run_id(app: Flask) -> None:
    """Lines logged while a run's own address is served carry its run_id."""

    @app.before_request
    def enter() -> None:
        g.context = ExitStack()
        g.context.enter_context(run_context((request.view_args or {}).get("run_id", "-")))

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        request.environ[WSGI_RUN_ID] = g.get("run_id") or current_run_id()  # for the access log
        if "context" in g:
            g.context.close()
