"""Backups of the database: off by default, the CronJob's parts, and what its script keeps."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.chart.rendering import (
    SECRET,
    Object,
    at,
    containers,
    laid_over,
    object_of,
    objects,
    refusal,
)

ON = laid_over(SECRET, at("mysql.backup.enabled", True))
WHOLE = "echo '-- Dump completed on 2026-11-25  2:30:00'"


def backup(path: str = "keep", value: Any = 7) -> list[Object]:
    return objects(laid_over(ON, at(f"mysql.backup.{path}", value)))


def pod_of(manifests: list[Object]) -> Object:
    template: Object = object_of(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    return template


def test_off_by_default_and_only_for_the_database_of_the_chart() -> None:
    assert [
        manifest["metadata"]["name"] for manifest in objects() if "backup" in str(manifest)
    ] == []
    more = {manifest["metadata"]["name"] for manifest in objects(ON)} - {
        manifest["metadata"]["name"] for manifest in objects()
    }
    assert {name for name in more if not name.startswith("bt-mysql-backup")} == set()


def test_the_server_does_not_notice() -> None:
    assert object_of(objects(ON), "StatefulSet") == object_of(objects(), "StatefulSet"), (
        "turned on later, nothing restarts"
    )


def test_one_at_a_time_and_not_for_ever() -> None:
    spec = object_of(objects(ON), "CronJob")["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["concurrencyPolicy"]) == (
        "30 2 * * *",
        "UTC",
        "Forbid",
    )
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (1, 3)
    assert spec["jobTemplate"]["spec"]["activeDeadlineSeconds"] == 3600
    assert pod_of(objects(ON))["spec"]["restartPolicy"] == "Never"


def test_the_first_one_is_taken_at_once_and_again_when_it_changes() -> None:
    """`helm install --wait` would wait for a claim that no pod uses; a Job cannot be changed."""
    manifests = objects(ON)
    other = backup("keep", 8)
    first = object_of(manifests, "Job", object_of(manifests, "Job")["metadata"]["name"])
    assert first["spec"] == object_of(manifests, "CronJob")["spec"]["jobTemplate"]["spec"]
    assert first["metadata"]["name"] == object_of(objects(ON), "Job")["metadata"]["name"]
    assert first["metadata"]["name"] != object_of(other, "Job")["metadata"]["name"]


def test_the_password_is_a_file_and_the_only_one() -> None:
    (container,) = containers(pod_of(objects(ON))["spec"])
    assert {variable["name"] for variable in container["env"] if "valueFrom" in variable} == {
        "MYSQL_USER"
    }
    (secret,) = [
        volume["secret"] for volume in pod_of(objects(ON))["spec"]["volumes"] if "secret" in volume
    ]
    assert [item["key"] for item in secret["items"]] == ["DB_PASSWORD"], "not root's"
    assert container["command"] == ["bash", "/scripts/backup.sh"]


def test_it_reaches_names_and_the_database_and_nothing_else() -> None:
    policy = object_of(objects(ON), "NetworkPolicy", "-backup")["spec"]
    labels = pod_of(objects(ON))["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    names, database = policy["egress"]
    assert {port["port"] for port in names["ports"]} == {53, 5353}
    (to,) = database["to"]
    server = object_of(objects(ON), "StatefulSet")["spec"]
    assert to == {"podSelector": server["selector"]}
    (admitted,) = object_of(objects(ON), "NetworkPolicy", "bt-mysql")["spec"]["ingress"][0]["from"]
    assert admitted["podSelector"]["matchLabels"].items() <= labels.items()
    assert [
        manifest["kind"]
        for manifest in objects(laid_over(ON, at("mysql.networkPolicy.enabled", False)))
        if "mysql" in manifest["metadata"]["name"]
    ].count("NetworkPolicy") == 0


def test_no_service_and_no_other_policy_takes_it_for_a_part_of_its_own() -> None:
    labels = pod_of(objects(ON))["metadata"]["labels"].items()
    selectors = {
        f"{manifest['kind']} {manifest['metadata']['name']}": spec.get(
            "podSelector", spec.get("selector")
        )
        for manifest in objects(ON)
        if (spec := manifest.get("spec", {})) and manifest["kind"] in ("Service", "NetworkPolicy")
    }
    peers = {
        name
        for name, selector in selectors.items()
        if selector.get("matchLabels", selector).items() <= labels
    }
    assert peers == {"NetworkPolicy bt-mysql-backup"}


def test_the_claim_stays_when_the_release_goes() -> None:
    claim = object_of(objects(ON), "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "5Gi"}},
    }
    fast, none = (
        object_of(backup("persistence.storageClass", name), "PersistentVolumeClaim")
        for name in ("fast", "-")
    )
    assert (fast["spec"]["storageClassName"], none["spec"]["storageClassName"]) == ("fast", "")
    assert volume_claim(objects(ON)) == claim["metadata"]["name"]


def test_a_claim_of_your_own() -> None:
    manifests = backup("persistence.existingClaim", "dumps")
    assert [manifest for manifest in manifests if manifest["kind"] == "PersistentVolumeClaim"] == []
    assert volume_claim(manifests) == "dumps"
    (mount,) = [
        mount
        for mount in containers(pod_of(manifests)["spec"])[0]["volumeMounts"]
        if mount["name"] == "backups"
    ]
    assert mount["subPath"] == "bt-mysql", "releases may share it"


def volume_claim(manifests: list[Object]) -> Any:
    (claim,) = [
        volume
        for volume in pod_of(manifests)["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    return claim["persistentVolumeClaim"]["claimName"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schedule", "every night"),
        ("keep", 0),
        ("timeZone", "UTC+1 h"),
        ("persistence.size", "much"),
        ("suspended", True),
    ],
)
def test_what_the_schema_refuses(path: str, value: Any) -> None:
    parts = path.split(".") if path != "suspended" else []
    assert "/".join(["at '/backup", *parts]) in refusal(
        laid_over(ON, at(f"mysql.backup.{path}", value))
    )


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Three dumps of earlier nights, and what a killed backup left."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "backups").mkdir()
    for night in ("20261122", "20261123", "20261124"):
        (tmp_path / "backups" / f"{night}T023000Z.sql.gz").touch()
    (tmp_path / "backups" / "20261121T023000Z.sql.gz.pod.part").touch()
    return tmp_path


def take(volume: Path, dump: str = WHOLE, keep: int = 3) -> tuple[int, str, list[str]]:
    """Runs the rendered scripts with a mysqldump that is the shell program `dump`.

    Returns the exit code, standard error, and the files of the volume after it.
    """
    data = object_of(backup("keep", keep), "ConfigMap", "-mysql-backup")["data"]
    for name, text in data.items():
        (volume / name).write_text(
            text.replace("/backups", f"{volume}/backups").replace("/scripts", str(volume))
        )
    for name, does in {
        "mysqldump": f"case $* in *--help*) ;; *) {dump} ;; esac",
        "mysqladmin": "",
        "sleep": "",
    }.items():
        (volume / "bin" / name).write_text(f"#!/bin/bash\n{does}\n")
        (volume / "bin" / name).chmod(0o755)
    (volume / "password").write_text("for-tests-only")
    environment = {
        "PATH": f"{volume}/bin:{os.environ['PATH']}",
        "HOSTNAME": "pod",
        "KEEP": str(keep),
        "DB_HOST": "bt-mysql",
        "MYSQL_USER": "quant",
        "MYSQL_DATABASE": "stocks",
        "MYSQL_PASSWORD_FILE": str(volume / "password"),
    }
    done = subprocess.run(
        ["bash", str(volume / "backup.sh")], env=environment, capture_output=True, text=True
    )
    assert "for-tests-only" not in done.stdout + done.stderr
    return (
        done.returncode,
        done.stderr,
        sorted(path.name for path in (volume / "backups").iterdir()),
    )


def test_an_old_dump_goes_once_the_new_one_is_whole(volume: Path) -> None:
    code, error, (first, second, new) = take(volume)
    assert (code, error, first, second) == (
        0,
        "",
        "20261123T023000Z.sql.gz",
        "20261124T023000Z.sql.gz",
    )
    assert gzip.decompress((volume / "backups" / new).read_bytes()).startswith(b"-- Dump completed")


def test_fewer_dumps_than_are_kept(volume: Path) -> None:
    assert len(take(volume, keep=9)[2]) == 4


@pytest.mark.parametrize(
    ("dump", "error"),
    [
        (f"{WHOLE}; exit 2", "ERROR: The dump failed twice"),
        ("echo 'INSERT INTO runs VALUES (1),('", "ERROR: The dump has no end"),
        ("exit 0", "ERROR: The dump has no end"),
    ],
)
def test_a_dump_that_is_not_whole_takes_no_old_one_away(
    volume: Path, dump: str, error: str
) -> None:
    code, said, names = take(volume, dump, keep=1)
    assert (code, said) == (1, f"{error}; the dumps before it are still there.\n")
    assert names == [f"202611{day}T023000Z.sql.gz" for day in (22, 23, 24)]


def test_a_migration_at_the_same_moment_is_waited_for(volume: Path) -> None:
    first = f"[ -e {volume}/again ] || {{ touch {volume}/again; echo half; exit 2; }}"
    code, error, (*_, new) = take(volume, f"{first}; {WHOLE}")
    assert (code, error) == (0, "")
    assert gzip.decompress((volume / "backups" / new).read_bytes()).startswith(b"-- Dump completed")


def test_the_password_is_on_no_command_line(volume: Path) -> None:
    seen = volume / "seen"
    assert take(volume, f'echo "$* $MYSQL_PWD" >{seen}; {WHOLE}')[0] == 0
    *words, password = seen.read_text().split()
    assert password == "for-tests-only"
    assert {
        "--single-transaction",
        "--no-tablespaces",
        "--set-gtid-purged=OFF",
        "--hex-blob",
    } <= set(words)
    assert not any("password" in word or "for-tests-only" in word for word in words)


def test_a_view_belongs_to_whoever_restores_it(volume: Path) -> None:
    view = "/*!50013 DEFINER=`quant`@`%` SQL SECURITY DEFINER */"
    (volume / "view").write_text(f"{view}\nINSERT INTO runs VALUES ('{view}')\n")
    take(volume, f"cat {volume}/view; {WHOLE}", keep=1)
    (new,) = (volume / "backups").glob("*.sql.gz")
    lines = gzip.decompress(new.read_bytes()).decode().splitlines()
    assert lines[:2] == ["/*!50013 SQL SECURITY DEFINER */", f"INSERT INTO runs VALUES ('{view}')"]
