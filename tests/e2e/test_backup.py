"""A dump of a release, by its CronJob or by `make backup`, is restored into another release."""

from __future__ import annotations

import gzip
import re
import urllib.request
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scripts.config import ROOT
from tests.e2e.cluster import CommandFailed, Namespace, Release, run
from tests.e2e.conftest import ONE_EACH
from tests.e2e.waiters import job_ended, wait_until
from tests.e2e.web import FINAL, Web

pytestmark = pytest.mark.cluster

BACKUP = {
    **ONE_EACH,
    "worker": {"maxActive": 2},
    "mysql": {"backup": {"enabled": True, "keep": 2, "schedule": "0 0 1 1 *"}},
}
MOVING = re.compile(rb"^(-- |INSERT INTO `leases`)")
ACTIVE = re.compile(rb"^INSERT INTO `runs` .*'(pending|running)'", re.MULTILINE)
# Runs that have a part of what belongs to a completed run
HALF = """SELECT COUNT(*)
 FROM runs LEFT JOIN results USING (run_id) LEFT JOIN figures USING (run_id)
 WHERE (status = 'completed') + (result IS NOT NULL) + (chart_base64 IS NOT NULL) NOT IN (0, 3)"""


@pytest.fixture(scope="module")
def releases(
    helm_release: Callable[..., Release], new_namespace: Callable[..., Namespace]
) -> tuple[Release, Release]:
    """Two releases with backups, the second one in a new namespace."""
    fresh = new_namespace("-fresh")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(helm_release, **BACKUP)
        two = pool.submit(helm_release, "other", into=fresh, **BACKUP)
        return first.result(), two.result()


@pytest.fixture(scope="module")
def history(releases: tuple[Release, Release]) -> dict[str, Any]:
    """The pages and answers of completed, failed and cancelled runs of the first release."""
    original = releases[0]
    with original.web() as web:
        taken = str(uuid.uuid4())
        original.namespace.kubectl(
            "create", "job", f"bt-{taken}", "--image=mysql:8.0", "--", "true"
        )
        cancelled, *others = [web.submit(rule_id=f"MA_CROSS_{fast}_40") for fast in (5, 6, 7)]
        web.ask(f"/runs/{cancelled}/cancel", {})
        web.submit(run_id=taken)
        ends = [web.wait(run_id)["status"] for run_id in (cancelled, *others, taken)]
        assert ends == ["cancelled", "completed", "completed", "failed"]
        # The controller measures runs without a result some seconds after they have ended.
        wait_until(
            lambda: sql(original, "SELECT COUNT(*) FROM runs WHERE stored_bytes IS NULL"),
            lambda unmeasured: unmeasured == "0",
            60,
            "all runs are measured",
        )
        return all_of(web)


def read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=20) as answer:
        return bytes(answer.read())


def all_of(web: Web) -> dict[str, Any]:
    """Everything that a user can ask for: JSON as objects, files as bytes."""
    answers = {path: web.ask(path) for path in ("/runs", "/tickers")}
    for entry in answers["/runs"]["runs"]:
        address = f"/result/{entry['run_id']}"
        answers[address] = web.ask(address)
        answers[f"status {address}"] = web.status(entry["run_id"])
        if entry["status"] == "completed":
            answers |= {
                name: read(web.url + name)
                for name in (f"{address}/equity.csv", f"{address}/figure.png")
            }
    return answers


def script(release: Release, what: str, folder: Path = ROOT, **settings: object) -> str:
    """What scripts/backup.sh prints about the release; it writes files into `folder`."""
    environment = {"RELEASE": release.name, "NAMESPACE": release.namespace.name, **settings}
    words = [
        "env",
        f"--chdir={folder}",
        *(f"{name}={value}" for name, value in environment.items()),
    ]
    return run(
        *words,
        "bash",
        str(ROOT / "scripts/backup.sh"),
        what,
        kubeconfig=release.namespace.kubeconfig,
    )[0]


def sql(release: Release, statement: str) -> str:
    options = '--skip-column-names --database="$MYSQL_DATABASE" --execute="$1"'
    client = f"bash /scripts/client.sh mysql {options}"
    return release.namespace.kubectl(
        "exec", f"{release.name}-mysql-0", "--", "bash", "-c", client, "-", statement
    ).strip()


def standing(dump: Path) -> list[bytes]:
    """The lines of a dump without its comments and who leads at the moment."""
    return [
        line for line in gzip.decompress(dump.read_bytes()).splitlines() if not MOVING.match(line)
    ]


@pytest.fixture(scope="module")
def dump(
    releases: tuple[Release, Release], history: object, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A dump that a Job of the CronJob left on the volume, fetched from there."""
    namespace = releases[0].namespace
    file = tmp_path_factory.mktemp("dumps") / "fetched.sql.gz"
    namespace.kubectl("create", "job", "now", "--from=cronjob/bt-mysql-backup")
    ended = wait_until(
        lambda: namespace.object("job", "now"), job_ended, 60, "the backup has ended"
    )
    assert job_ended(ended) == "Complete"
    assert re.fullmatch(
        r"\S+Z\.sql\.gz has \d+ bytes; 2 dumps are here\n", namespace.kubectl("logs", "job/now")
    )
    assert (
        len(re.findall(r"Z\.sql\.gz$", script(releases[0], "fetch", FILE=file), re.MULTILINE)) == 2
    )
    return file


def test_the_first_backup_is_taken_at_once(releases: tuple[Release, Release]) -> None:
    (job,) = releases[0].namespace.objects("jobs", **releases[0].labels("backup"))
    seen = partial(releases[0].namespace.object, "job", job["metadata"]["name"])
    assert job_ended(wait_until(seen, job_ended, 60, "the first backup has ended")) == "Complete"


def test_a_fresh_release_with_the_dump_has_the_same_history(
    releases: tuple[Release, Release], history: dict[str, Any], dump: Path
) -> None:
    fresh = releases[1]
    assert "4 runs are there now" in script(fresh, "restore", FILE=dump)
    with fresh.web() as web:
        assert all_of(web) == history
        assert (
            sql(fresh, "SELECT COUNT(*), SUM(status = 'completed') FROM backtest_results") == "4\t2"
        )
        web.completed()
    assert fresh.namespace.object("cronjob", "other-mysql-backup")["spec"]["suspend"] is False
    with pytest.raises(
        CommandFailed, match="the database of other has 5 runs: FORCE=1 replaces them"
    ):
        script(fresh, "restore", FILE=dump)


def test_make_backup_writes_the_same_dump(
    releases: tuple[Release, Release], dump: Path, tmp_path: Path
) -> None:
    script(releases[0], "backup", FILE=tmp_path / "by-hand.sql.gz")
    assert standing(tmp_path / "by-hand.sql.gz") == standing(dump) != []


@pytest.mark.slow
def test_a_dump_among_running_runs_is_of_one_moment(
    releases: tuple[Release, Release], tmp_path: Path
) -> None:
    original, fresh = releases
    with original.web() as web:
        for fast in range(10, 16):
            web.submit(rule_id=f"MA_CROSS_{fast}_50")
        wait_until(
            lambda: web.ask("/runs?status=completed&limit=100")["runs"],
            lambda dumps: len(dumps) > 2,
            60,
            "some are done",
        )
        script(original, "backup", FILE=tmp_path / "moving.sql.gz")
    assert ACTIVE.search(gzip.decompress((tmp_path / "moving.sql.gz").read_bytes()))
    output = script(fresh, "restore", tmp_path, FILE=tmp_path / "moving.sql.gz", FORCE=1)
    assert "10 runs are there now" in output
    (before,) = tmp_path.glob("other-before-restore-*.sql.gz")
    assert before.name in output
    assert sql(fresh, HALF) == "0"
    with fresh.web() as web:
        ends = {
            web.wait(entry["run_id"], *FINAL)["status"]
            for entry in web.ask("/runs?limit=100")["runs"]
        }
        assert ends == {"completed", "failed", "cancelled"}
