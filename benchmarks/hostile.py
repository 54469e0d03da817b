"""Hostile clients against the web: 1,200 half-open requests, and 60 clients that never read.

`python -m benchmarks.hostile` gives each case a web of its own, with the settings of the chart: one
process, on SQLite or on the MySQL of TEST_MYSQL=root:<password>@<host>:<port>. While the hostile
clients are there, six health checks are made, which have a second each, and the resident memory of
all gunicorn processes is watched. Options go to gunicorn, to measure other workers of it:
`python -m benchmarks.hostile --worker-class=gthread`.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.databases import migrated_database
from tests.web_server.hostile import (
    CHECKS,
    Outcome,
    Peak,
    clients_that_never_read,
    count_answered,
    half_open_requests,
    large_answer,
    watch,
)
from tests.web_server.served import Web

HALF_OPEN = 1200
NEVER_READING = 60
ANSWER_BYTES = 9_000_000
WATCH_SECONDS = 12.0


def measure_half_open(web: Web) -> Outcome:
    """Health checks while half-open requests wait."""
    with half_open_requests(web, HALF_OPEN):
        return watch(web, WATCH_SECONDS)


def measure_never_reading(web: Web) -> Outcome:
    """Health checks from the moment when the last of the clients has asked."""
    path = large_answer(web, ANSWER_BYTES)
    with Peak(web) as peak, clients_that_never_read(web, NEVER_READING, path) as clients:
        outcome = watch(web, WATCH_SECONDS)
        begun = count_answered(clients)
    print(f"{begun} of {NEVER_READING} clients have got an answer or the beginning of one")
    return replace(outcome, peak_resident_bytes=peak.resident_bytes)


CASES = {
    f"{HALF_OPEN:,} half-open requests": measure_half_open,
    f"{NEVER_READING} clients that never read {ANSWER_BYTES / 1e6:.0f} MB": measure_never_reading,
}


def main(options: Sequence[str]) -> None:
    """Prints one line for each case."""
    for name, measure in CASES.items():
        with (
            tempfile.TemporaryDirectory() as folder,
            migrated_database(Path(folder)) as engine,
        ):
            web = Web(engine, Path(folder), options, LOG_LEVEL="WARNING")
            idle = web.resident_bytes()
            try:
                outcome = measure(web)
            finally:
                web.end()
            kind = engine.dialect.name
        print(
            f"{kind}: {name}: {outcome.answered} of {CHECKS} health checks answered, "
            f"the slowest after {outcome.slowest_seconds:.2f} s, "
            f"memory {idle / 2**20:.0f} MiB before "
            f"and {outcome.peak_resident_bytes / 2**20:.0f} MiB at the peak"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
