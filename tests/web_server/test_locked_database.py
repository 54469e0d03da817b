"""Another program has the SQLite file locked: whoever writes waits, and nobody else does."""

from __future__ import annotations

import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.databases import MYSQL
from tests.support.requests import REQUEST
from tests.web_server.served import serving, status_of

pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(bool(MYSQL), reason="about SQLite"),
]

WRITERS = 24


def test_reads_and_health_checks_go_on(tmp_path: Path) -> None:
    with serving(tmp_path) as web, ThreadPoolExecutor(WRITERS) as pool:
        path = str(web.engine.url.database)
        lock = sqlite3.connect(path, isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        begun = threading.Barrier(WRITERS + 1)

        def submit() -> str:
            begun.wait()
            return json.loads(web.post({**REQUEST}))["status"]  # type: ignore[no-any-return]

        submitted = [pool.submit(submit) for _ in range(WRITERS)]
        begun.wait()
        for _ in range(10):
            for address in ("/health", "/ready", "/runs"):
                assert status_of(web.get(address, seconds=2)) == 200
        lock.execute("COMMIT")
        assert {each.result(30) for each in submitted} == {"pending"}
        assert len(web.run_ids()) == WRITERS
