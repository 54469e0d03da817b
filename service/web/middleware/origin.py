"""No page of another site may act in a user's name: what a browser says about where a request comes from decides.

As in Go's net/http.CrossOriginProtection: neither cookies nor tokens in forms, nothing to keep between two requests.
"""

from __future__ import annotations

from flask import Flask, request
from werkzeug.exceptions import Forbidden

SAFE = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Refuses with 403 whatever changes something and comes from another origin."""
    app.before_request(_check)


def _check() -> None:
    if request.method not in SAFE and not _is_ours():
        raise Forbidden


def _is_ours() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in ("same-origin", "none")  # none: typed in, a bookmark
    origin = request.headers.get("Origin")
    if origin is None:
        return True  # curl and other programs; every browser sends one of the two
    return origin.lower() == f"{request.scheme}://{request.host}".lower()
