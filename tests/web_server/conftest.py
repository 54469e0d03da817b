"""One web for all tests of a file that leave it as it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.web_server.served import Web, serving

KEEPALIVE_SECONDS = 2


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """Two workers, with a log in JSON and little patience with heads of requests."""
    settings = {
        "WEB_WORKERS": "2",
        "WEB_KEEPALIVE_SECONDS": str(KEEPALIVE_SECONDS),
        "LOG_FORMAT": "json",
    }
    with serving(tmp_path_factory.mktemp("web"), **settings) as served:
        yield served
