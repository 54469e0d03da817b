"""Refuses requests for the name of another site.

A page can let the name of its own site point to this address (DNS rebinding): for the browser it is
of the same origin then, so that it may send what it likes in a user's name and read the answers.
The name stays that of the site, in the header Host. A bare address cannot be made to point
elsewhere: it is always taken.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.sansio.utils import host_is_trusted

from service.contract.errors import UnknownHost

logger = logging.getLogger(__name__)

ANY = "*"
# Load balancers ask with names of their own, and learn nothing but that the service is there.
OPEN = ("health.health", "health.ready")


def install(app: Flask, allowed: Collection[str]) -> None:
    """Refuses with 400 all names but these; `.example.org` has all below it, `*` is any name."""
    if ANY in allowed:
        return
    names = [name.lower() for name in allowed]

    @app.before_request
    def check_host() -> None:
        if request.endpoint in OPEN:
            return
        for host in _hosts():
            name = _name(host)
            if not is_address(name) and not host_is_trusted(name, names):
                logger.warning("Refused: ALLOWED_HOSTS does not have %s", host)
                raise UnknownHost(name)


def _hosts() -> list[str]:
    """That of the request, and that of which a proxy says that it was asked for.

    A page could send the header of a proxy itself, where there is none in front.
    """
    before_proxy = request.environ.get("werkzeug.proxy_fix.orig", {}).get("HTTP_HOST")
    return [request.host] if before_proxy is None else [request.host, before_proxy]


def is_address(name: str) -> bool:
    """Whether the name of a host is an IP address."""
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _name(host: str) -> str:
    """In lower case, without the port and an IPv6 address's brackets; "" where it is none."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
    # A dot at the end says that the name is whole.
    return name.removesuffix(".")
