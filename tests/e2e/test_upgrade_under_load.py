"""An upgrade, a rollback and an upgrade while runs are asked for: none is lost or done twice."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import pytest
from pytest_helm_charts.clusters import Cluster

from service.contract.request import parse_request
from service.contract.result import BacktestResult
from service.worker.run import perform
from service.worker.software import Software
from tests.e2e import earlier_release
from tests.e2e.cluster import CHART, Namespace, Release, merged
from tests.e2e.conftest import ONE_EACH, TINY
from tests.e2e.load import Accepted, submitting
from tests.e2e.pods import IMAGE
from tests.e2e.waiters import Object, pod_ready, wait_until
from tests.e2e.web import Web
from tests.support.prices import series
from tests.support.requests import REQUEST, SWEEP

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RULES = ("MA_CROSS_10_30", "RSI_14_30_70", "BB_20_2", "MACD_12_26_9")
SHARED = "MA_CROSS_11_40"
LEFT = "MA_CROSS_12_40"
COMBINATIONS = 11  # of SWEEP, those that the rule allows
OLD_WEB = earlier_release.IMAGES[0]
REVISION = """
from scripts.config import load_config
from service.store.database import connect
with connect(load_config()).connect() as connection:
    print(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())
"""


@cache
def expected(rule_id: str, version: str, digest: str) -> str:
    """The result of this request by that version of the engine, computed on this machine."""
    request = parse_request({"run_id": str(uuid.uuid4()), **REQUEST, "rule_id": rule_id})
    earlier = {"engine_version": version, "rules_digest": digest}
    result, _ = perform(request, series(request.ticker), Software(), earlier=earlier)
    return result.reproducible()


def assert_as_performed_here(result: dict[str, Any]) -> None:
    """Every byte, by the version of the engine that the result names."""
    provenance = result["provenance"]
    names = ("rule_id", "engine_version", "rules_digest")
    assert read(result).reproducible() == expected(*(provenance[name] for name in names))


def read(result: dict[str, Any]) -> BacktestResult:
    """The answer of either release: 0.2.0 leaves what it does not know in the provenance."""
    provenance = dict(result["provenance"])
    doubt = provenance.pop("doubt", {})
    return BacktestResult(**{"doubt": doubt, **result, "provenance": provenance})


@dataclass
class Story:
    """The one release of the module, and what was asked of it so far."""

    release: Release
    accepted: list[Accepted] = field(default_factory=list)
    kept: dict[str, Any] = field(
        default_factory=dict
    )  # results of its first days, as they were then

    def check(self, *accepted: Accepted) -> None:
        """Checks that these runs and all earlier ones have completed once, at the first attempt."""
        self.accepted += accepted
        with self.release.web() as web:
            for run in self.accepted:
                status = web.wait(run.run_id, seconds=120)
                assert status["status"] == "completed", status
                assert status["attempt"] == 1 or status["reused_from"], status
                assert_as_performed_here(web.result(run.run_id))
            for run_id, before in self.kept.items():
                assert read(web.result(run_id)) == read(before)
            rows = Counter(run["run_id"] for run in web.ask("/runs?limit=200")["runs"])
        assert {run.run_id for run in self.accepted} <= rows.keys()
        assert set(rows.values()) == {1}

    def images(self) -> set[str]:
        """The images of web and controller, without pods that are being deleted."""
        parts = (self.release.labels(part) for part in ("web", "controller"))
        pods = [
            pod
            for labels in parts
            for pod in self.release.namespace.objects("pods", **labels)
            if pod_ready(pod)
        ]
        return {container["image"] for pod in pods for container in pod["spec"]["containers"]}

    def upgrade(self) -> None:
        """Upgrades the release to this chart, with the same values."""
        self.release = replace(self.release, chart=str(CHART)).upgrade()

    def roll_back(self) -> None:
        """Rolls the release back to its first revision."""
        self.release.helm("rollback", self.release.name, "1", "--wait", "--timeout", "5m")
        self.release = replace(self.release, chart=str(earlier_release.PACKAGE))


@pytest.fixture(scope="module")
def story(kube_cluster: Cluster, namespace: Namespace) -> Story:
    """The release before, just installed, with its own chart and images."""
    earlier_release.require()
    earlier_release.put_into(os.environ.get("CLUSTER", "stock-backtest"))
    values = merged(TINY, merged(ONE_EACH, {"worker": {"maxActive": 4}}))
    release = Release("bt", namespace, values, chart=str(earlier_release.PACKAGE))
    release.install()
    return Story(release)


def revision(release: Release) -> str:
    """The revision of the database's schema."""
    return release.namespace.python(next(iter(release.pods("web"))), REVISION).strip()


def migration(release: Release) -> Object:
    """A pod that migrates the database as the controller's does, with this release's image."""
    deployment = release.namespace.object("deployment", release.name_of("deployment", "controller"))
    template = deployment["spec"]["template"]
    (migrate,) = template["spec"].pop("initContainers")
    labels = {
        name: value
        for name, value in template["metadata"]["labels"].items()
        if not name.endswith("/component")
    }
    spec = {
        **template["spec"],
        "containers": [{**migrate, "image": IMAGE}],
        "restartPolicy": "Never",
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "migration", "labels": labels},
        "spec": spec,
    }


def wait_for_a_queue(release: Release) -> None:
    """Waits until some runs compute and others wait."""
    with release.web() as web:
        for status in ("running", "pending"):
            wait_until(
                lambda status=status: web.ask(f"/runs?status={status}")["runs"],
                bool,
                60,
                f"runs are {status}",
            )


@contextmanager
def no_more_jobs(namespace: Namespace) -> Iterator[None]:
    """Lets no more Jobs be created inside the block; runs that are submitted stay in the queue."""
    quota = {"metadata": {"name": "full"}, "spec": {"hard": {"count/jobs.batch": "0"}}}
    namespace.apply({"apiVersion": "v1", "kind": "ResourceQuota", **quota})
    counted = wait_until(
        lambda: namespace.object("quota", "full"),
        lambda document: document["status"].get("hard"),
        30,
        "it counts",
    )
    assert counted["status"]["used"] != {"count/jobs.batch": "0"}
    yield
    namespace.kubectl("delete", "quota", "full")


def shared(web: Web, rule_id: str) -> Accepted:
    """A run that may share the work of another one."""
    answer = web.ask("/backtest", {**REQUEST, "rule_id": rule_id})
    return Accepted(answer["run_id"], rule_id, by_newest_pods=True)


def test_the_images_are_made_of_what_was_released() -> None:
    earlier_release.require()
    packaged = earlier_release.packaged()
    committed = earlier_release.committed()
    assert (
        earlier_release.version_of(packaged)
        == earlier_release.version_of(committed)
        == earlier_release.VERSION
    )
    changed = {name for name, content in packaged.items() if committed.get(name) != content}
    assert {name.rpartition("/")[2] for name in changed} == {"Chart.yaml"}, "helm writes it anew"


def test_the_schema_may_go_ahead_of_the_pods(story: Story) -> None:
    release = story.release
    with release.web() as web:
        first = web.completed(rule_id=RULES[0])
        assert revision(release) == "0003"
        release.namespace.apply(migration(release))
        ended = partial(release.namespace.object, "pod", "migration")
        wait_until(ended, lambda pod: pod["status"]["phase"] == "Succeeded", 60, "the migration")
        assert revision(release) == "0010"
        second = web.completed(rule_id=RULES[1])
    assert story.images() == {OLD_WEB}
    assert_as_performed_here(second)
    story.kept = {result["run_id"]: result for result in (first, second)}


def sweep(web: Web) -> str:
    """The run_id of a sweep that has completed."""
    run_id = str(web.ask("/sweeps?force=true", SWEEP)["run_id"])
    assert web.wait(run_id, seconds=120)["status"] == "completed"
    return run_id


def test_an_upgrade_under_load(story: Story) -> None:
    with story.release.web() as web:
        swept = sweep(web)
    with submitting(story.release, *RULES) as accepted:
        wait_for_a_queue(story.release)
        story.upgrade()
    assert story.images() == {IMAGE}
    assert {run.by_newest_pods for run in accepted} == {False, True}, "both releases were asked"
    story.check(*accepted)
    with story.release.web() as web:
        assert rows_of(web.page(f"/sweeps/{swept}")) > COMBINATIONS, "and the headings"


def rows_of(page: str) -> int:
    """The number of rows in the tables of a page."""
    return page.count("<tr")


def test_a_rollback_under_load(story: Story) -> None:
    """Attached runs end with their leader, or the oldest of them leads; a sweep has a page."""
    with story.release.web() as web:
        swept = sweep(web)
    with submitting(story.release, *RULES) as accepted:
        wait_for_a_queue(story.release)
        with no_more_jobs(story.release.namespace):
            with story.release.web() as web:
                attached = [shared(web, SHARED) for _ in range(3)]
                leader, heir = (shared(web, LEFT) for _ in range(2))
                assert web.status(heir.run_id)["reused_from"] == leader.run_id
                assert {web.status(run.run_id)["status"] for run in (*attached, heir)} == {
                    "pending"
                }
            story.roll_back()
            with story.release.web() as web:
                assert web.ask(f"/runs/{leader.run_id}/cancel", {})["status"] == "cancelled"
    assert story.images() == {OLD_WEB}
    assert revision(story.release) == "0010"
    assert {run.by_newest_pods for run in accepted} == {False, True}, "both releases were asked"
    story.check(*accepted, *attached, heir)
    with story.release.web() as web:
        assert swept in web.page(f"/sweeps/{swept}"), "the page is there, its table is empty"


def test_an_upgrade_after_the_rollback(story: Story) -> None:
    with submitting(story.release, *RULES) as accepted:
        wait_for_a_queue(story.release)
        story.upgrade()
    assert story.images() == {IMAGE}
    story.check(*accepted)
