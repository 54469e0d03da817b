"""scripts/backup.sh without a cluster: what it refuses, and that it always restarts all parts."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.config import ROOT

DUMP = gzip.compress(b"CREATE TABLE runs (id INT);\n-- Dump completed on 2026-11-25  2:30:00\n")
CUT_OFF = gzip.compress(b"CREATE TABLE runs (id INT);\nINSERT INTO runs VALUES (1),(\n")
TOOLS = "bash cat cut date dirname env grep gzip mktemp mv rm sed tail wc".split()
# A release with 2 webs, a controller, one CronJob, and as many runs as the file says.
KUBECTL = """case $* in
*'get pods'*) echo pod/bt-mysql-0 ;;
*'get deployments'*) echo 'bt-web=2 bt-controller=1 ' ;;
*'get cronjobs'*component=backup*) echo cronjob.batch/bt-mysql-backup ;;
*'get cronjobs'*) echo 'bt-mysql-backup ' ;;
*'SHOW TABLES'*) echo runs ;;
*'SELECT COUNT'*) cat $here/runs ;;
*mysqldump*) cat $here/dump ;;
*gunzip*) cat >>$here/poured; [ ! -e $here/no-pouring ] || exit 1 ;;
esac"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A PATH with a kubectl that notes what it is asked for, and plays a release with 3 runs."""
    for name in TOOLS:
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    (tmp_path / "kubectl").write_text(
        f'#!/bin/bash\nhere={tmp_path}\necho "$*" >> $here/asked\n{KUBECTL}\n'
    )
    (tmp_path / "kubectl").chmod(0o755)
    (tmp_path / "runs").write_text("3\n")
    for name, content in {"dump": DUMP, "whole.sql.gz": DUMP, "cut.sql.gz": CUT_OFF}.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def script(folder: Path, what: str, **settings: str) -> tuple[int, str, str]:
    """Exit code, what was said to the user as an error, and what kubectl was asked for."""
    environment = {**os.environ, "PATH": str(folder), "NAMESPACE": "stocks", **settings}
    words = ["bash", str(ROOT / "scripts/backup.sh"), what]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    calls = (folder / "asked").read_text() if (folder / "asked").exists() else ""
    return done.returncode, done.stderr, calls


def changes(calls: str) -> list[str]:
    """The calls that change the cluster."""
    verbs = ("scale", "patch", "delete", "create", "exec -i")
    words = [line.removeprefix("--namespace stocks ") for line in calls.splitlines()]
    return [line for line in words if line.startswith(verbs)]


@pytest.mark.parametrize(
    ("file", "error"),
    [
        ("", "FILE= names the dump: make restore FILE=..."),
        ("none.sql.gz", "there is no file none.sql.gz"),
        ("cut.sql.gz", "cut.sql.gz is not a whole dump; nothing was touched"),
        ("half.sql.gz", "half.sql.gz is not a whole dump; nothing was touched"),
        ("runs", "runs is not a whole dump; nothing was touched"),
    ],
)
def test_a_file_that_is_no_whole_dump_is_refused(folder: Path, file: str, error: str) -> None:
    (folder / "half.sql.gz").write_bytes(DUMP[:-9])
    assert script(folder, "restore", FILE=file, FORCE="1") == (1, f"backup: {error}\n", "")


def test_runs_are_replaced_by_force_only(folder: Path) -> None:
    code, error, calls = script(folder, "restore", FILE="whole.sql.gz")
    assert (code, error) == (1, "backup: the database of bt has 3 runs: FORCE=1 replaces them\n")
    assert changes(calls) == []


@pytest.mark.parametrize("what", ["backup", "restore"])
def test_a_release_without_mysql(folder: Path, what: str) -> None:
    (folder / "kubectl").write_text("#!/bin/bash\n")
    code, error, _ = script(
        folder, what, FILE="whole.sql.gz" if what == "restore" else "new.sql.gz"
    )
    assert code == 1
    assert error.startswith(
        "backup: no MySQL of the release bt in the namespace stocks: RELEASE= and NAMESPACE="
    )


def test_a_release_without_backups(folder: Path) -> None:
    (folder / "kubectl").write_text("#!/bin/bash\n")
    code, error, _ = script(folder, "fetch")
    assert code == 1
    assert (
        error == "backup: the release bt in the namespace stocks takes no backups: "
        "mysql.backup.enabled=true\n"
    )


@pytest.mark.parametrize("what", ["backup", "fetch", "restore"])
def test_the_cluster_or_kubectl_is_away(folder: Path, what: str) -> None:
    file = "whole.sql.gz" if what == "restore" else "new.sql.gz"
    (folder / "kubectl").write_text("#!/bin/bash\necho refused >&2; exit 1\n")
    assert script(folder, what, FILE=file)[:2] == (
        1,
        "refused\nbackup: the cluster does not answer, or says no; see above\n",
    )
    (folder / "kubectl").unlink()
    assert script(folder, what, FILE=file)[:2] == (
        1,
        "backup: kubectl is missing: install it and put it on the PATH\n",
    )


def test_a_dump_is_kept_whole_or_not_at_all(folder: Path) -> None:
    assert script(folder, "backup", FILE="new.sql.gz")[0] == 0
    assert (folder / "new.sql.gz").read_bytes() == DUMP
    assert (folder / "new.sql.gz").stat().st_mode & 0o77 == 0, "nobody else's to read"
    code, error, _ = script(folder, "backup", FILE="new.sql.gz")
    assert (code, error) == (1, "backup: new.sql.gz is there already: FILE= names another one\n")
    (folder / "dump").write_bytes(CUT_OFF)
    code, error, _ = script(folder, "backup", FILE="other.sql.gz")
    assert (code, error) == (1, "backup: what arrived is not whole; nothing is kept\n")
    (folder / "dump").unlink()
    assert (
        "the dump was cut off; nothing is kept" in script(folder, "backup", FILE="other.sql.gz")[1]
    )
    assert [path.name for path in folder.glob("other*")] == []


BACK = [
    'patch cronjob bt-mysql-backup --patch {"spec": {"suspend": false}}',
    "scale deployment bt-web --replicas=2",
    "scale deployment bt-controller --replicas=1",
]


def test_a_restore_lets_everybody_stand_still_and_keeps_what_was_there(folder: Path) -> None:
    code, error, calls = script(folder, "restore", FILE="whole.sql.gz", FORCE="1")
    assert (code, error) == (0, "")
    still = changes(calls)[:4]
    poured = changes(calls)[4]
    assert still[0] == 'patch cronjob bt-mysql-backup --patch {"spec": {"suspend": true}}'
    assert still[1:3] == [
        f"scale deployment {name} --replicas=0" for name in ("bt-web", "bt-controller")
    ]
    assert still[3].startswith("delete jobs -l app.kubernetes.io/instance=bt --cascade=foreground")
    assert "gunzip" in poured
    assert changes(calls)[5:] == BACK
    assert calls.index("mysqldump") < calls.index("DROP DATABASE") < calls.index("gunzip")
    (before,) = folder.glob("bt-before-restore-*.sql.gz")
    assert before.read_bytes() == (folder / "poured").read_bytes() == DUMP


def test_a_restore_that_fails_puts_back_what_was_there(folder: Path) -> None:
    (folder / "no-pouring").touch()
    (folder / "dump").write_bytes(old := gzip.compress(b"-- old\n-- Dump completed\n"))
    code, error, calls = script(folder, "restore", FILE="whole.sql.gz", FORCE="1")
    assert (code, error) == (1, "backup: the restore failed; see above\n")
    assert calls.count("DROP DATABASE") == 2
    assert (folder / "poured").read_bytes() == DUMP + old
    assert changes(calls)[-3:] == BACK


def test_without_a_dump_of_what_is_there_nothing_is_replaced(folder: Path) -> None:
    (folder / "dump").unlink()
    code, error, calls = script(folder, "restore", FILE="whole.sql.gz", FORCE="1")
    assert code == 1
    assert "the dump was cut off" in error
    assert "DROP DATABASE" not in calls
    assert changes(calls)[-3:] == BACK


def test_an_empty_database_needs_no_force(folder: Path) -> None:
    (folder / "runs").write_text("0\n")
    code, error, calls = script(folder, "restore", FILE="whole.sql.gz")
    assert (code, error) == (0, "")
    assert "mysqldump" not in calls
    assert changes(calls)[-3:] == BACK
