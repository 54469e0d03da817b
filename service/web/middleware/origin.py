"""Refuses what a page of another site sends in a user's name, by the origin that browsers name.

The rules are those of Go's net/http.CrossOriginProtection. They need neither cookies nor tokens in
forms, so that nothing has to be kept between two requests.
"""

from __future__ import annotations

from flask import Flask, request
from werkzeug.exceptions import Forbidden

SAFE = ("GET", "HEAD", "OPTIONS")


def install(app: Flask) -> None:
    """Refuses with 403 every request that may change something and comes from another origin."""
    app.before_request(_check)


def _check() -> None:
    if request.method not in SAFE and not _is_from_our_site():
        raise Forbidden


def _is_from_our_site() -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        # "none" is an address that was typed in, or a bookmark.
        return site in ("same-origin", "none")
    origin = request.headers.get("Origin")
    if origin is None:
        # Every browser sends one of the two headers: this is curl or another program.
        return True
    return origin.lower() == f"{request.scheme}://{request.host}".lower()
