"""Puts the web application together."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from io import BytesIO
from typing import IO, Any

from flask import Flask, Request, Response, current_app, g, request
from werkzeug.exceptions import NotFound
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from scripts.config import ROOT
from scripts.logger_config import WSGI_RUN_ID, current_run_id, run_context
from service.store.room import RoomStore
from service.usecases.runs import Runs
from service.usecases.troubles import Troubles
from service.web import errors
from service.web.middleware import auth, conditional, hosts, metrics, origin, slots, texts, unread
from service.web.middleware.auth import Login
from service.web.missing_prices import PriceImport
from service.web.openapi.document import answer, cached, describe
from service.web.pages import (
    api,
    batches,
    compare,
    docs,
    fetches,
    files,
    forward,
    health,
    history,
    marks,
    prices,
    sweeps,
)
from service.web.pages import runs as pages
from service.web.services import Services, keep_services, services_of

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


PAGES = (
    pages, history, marks, compare, batches, sweeps, prices, fetches, forward, api, files, health,
    docs,
)  # fmt: skip


def create_app(
    runs: Runs,
    schema_problem: Callable[[], str],
    max_body_bytes: int = 65_536,
    login: Login | None = None,
    database_name: str = "the database",
    price_import: PriceImport | None = None,
    max_at_once: int = 4,
    first_wait_seconds: float = 0.0,
    allowed_hosts: Collection[str] = (hosts.ANY,),
    room_store: RoomStore | None = None,
    price_writers: Collection[str] = (),
    max_upload_bytes: int = 2**24,
    price_vendors: Collection[str] = (),
) -> Flask:
    """The application around a service; it keeps nothing on disk or between two requests.

    `schema_problem`, `database_name`, `first_wait_seconds`, `price_writers`, `price_vendors` and
    `max_upload_bytes` are those of `Services`; without `login` everybody may use every page.
    `max_at_once` requests are worked on at the same time.
    `allowed_hosts` are those of `hosts.install`; `room_store` knows how full the database is.
    """
    app = Flask(
        "service.web", template_folder=str(ROOT / "templates"), static_folder=str(ROOT / "static")
    )
    app.request_class = _Request
    app.config.update(MAX_CONTENT_LENGTH=max_body_bytes, MAX_FORM_MEMORY_SIZE=max_body_bytes)
    # Otherwise Flask redirects //a/b to an address that the Host header chooses.
    app.url_map.merge_slashes = False
    app.json.ensure_ascii = False  # type: ignore[attr-defined]
    services = Services(
        runs=runs,
        login=login or Login(),
        schema_problem=schema_problem,
        database_name=database_name,
        price_import=price_import or PriceImport(),
        troubles=Troubles(runs.run_store, runs.leases, room_store),
        first_wait_seconds=first_wait_seconds,
        price_writers=price_writers,
        max_upload_bytes=max_upload_bytes,
        price_vendors=price_vendors,
    )
    keep_services(app, services)
    for page in PAGES:
        app.register_blueprint(page.bp)
    _describe_static_files(app)
    _install_middleware(app, services, max_at_once, allowed_hosts)
    return app


def _install_middleware(
    app: Flask, services: Services, max_at_once: int, allowed_hosts: Collection[str]
) -> None:
    """Installs what happens to every request and answer, in the order in which it happens."""
    errors.install(app)
    # The metrics come before everything that refuses a request, so that they count it too.
    metrics.install(app, services.runs.run_store, services.troubles)
    texts.install(app)
    conditional.install(app)
    unread.install(app)
    app.after_request(_add_headers)
    _log_with_run_id(app)
    hosts.install(app, allowed_hosts)
    origin.install(app)
    auth.install(app, services.login)
    app.before_request(_allow_large_files)
    slots.install(app, max_at_once)


def _allow_large_files() -> None:
    """Files of prices are larger than any request for a run."""
    if request.endpoint in prices.TAKE_FILES:
        most = services_of(current_app).max_upload_bytes
        request.max_content_length = most
        # What its parser holds at once counts to this one.
        request.max_form_memory_size = most


def _describe_static_files(app: Flask) -> None:
    view = app.view_functions["static"]
    view.__doc__ = "A style sheet, script or picture of the pages."
    answers = {
        **cached("The file.", {"*/*": {}}),
        206: answer("The requested part of the file.", {"*/*": {}}),
    }
    describe(answers, errors=(404, 416), needs_database=False)(view)


class _Request(Request):
    """A request that keeps the files of a form in memory, where the body's limit bounds them.

    Werkzeug itself may write them to the disk.
    """

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return BytesIO()


def put_behind(app: Flask, application_root: str, proxy_hops: int) -> None:
    """Serves the application below a path only, behind a number of trusted proxies.

    Those proxies are believed about the client's address, the scheme and the host.
    """
    base = application_root.rstrip("/")
    if base:
        application = DispatcherMiddleware(NotFound(), {base: app.wsgi_app})
        app.wsgi_app = application  # type: ignore[method-assign]
    if proxy_hops:
        hops = dict.fromkeys(("x_for", "x_proto", "x_host"), proxy_hops)
        app.wsgi_app = ProxyFix(app.wsgi_app, **hops)  # type: ignore[method-assign]


def _add_headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


def _log_with_run_id(app: Flask) -> None:
    """Adds the run_id to the lines that are logged while an address of a run is served."""

    @app.before_request
    def enter() -> None:
        run_id = (request.view_args or {}).get("run_id", "-")
        g.context = ExitStack()
        g.context.enter_context(run_context(run_id))

    @app.teardown_request
    def leave(_: BaseException | None) -> None:
        # The access log reads it from there.
        request.environ[WSGI_RUN_ID] = g.get("run_id") or current_run_id()
        if "context" in g:
            g.context.close()
