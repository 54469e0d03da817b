"""Two releases in one namespace, and one name in two namespaces, do not touch each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.cluster import Namespace, Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.waiters import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def releases(
    helm_release: Callable[..., Release], new_namespace: Callable[..., Namespace]
) -> tuple[Release, Release, Release]:
    """`one` and `two` beside each other, and another `one` elsewhere."""
    return (
        helm_release("one", **ONE_EACH),
        helm_release("two", **ONE_EACH),
        helm_release("one", into=new_namespace("-elsewhere"), **ONE_EACH),
    )


def jobs_of(release: Release) -> set[str]:
    return release.namespace.names("jobs", instance=release.name)


def test_each_performs_its_own_runs_and_no_others(releases: tuple[Release, ...]) -> None:
    run_ids: list[set[str]] = []
    for number, release in enumerate(releases):
        with release.web() as web:
            own = {web.submit(rule_id=f"MA_CROSS_{10 + number}_{slow}") for slow in range(30, 33)}
            assert {web.wait(run_id)["status"] for run_id in own} == {"completed"}
            assert {run["run_id"] for run in web.ask("/runs")["runs"]} == own
        run_ids.append(own)
    for release, own in zip(releases, run_ids, strict=True):
        assert jobs_of(release) == {f"bt-{run_id}" for run_id in own}
        logs = release.namespace.kubectl(
            "logs", f"deploy/{release.name_of('deployment', 'controller')}"
        )
        assert "not ours" not in logs
        assert "ERROR" not in logs


def test_uninstalling_one_leaves_the_others_alone(releases: tuple[Release, ...]) -> None:
    first, two, elsewhere = releases
    theirs = jobs_of(two)
    pods = [release.pods(part) for release in (two, elsewhere) for part in ("web", "mysql")]
    first.uninstall()
    wait_until(
        lambda: jobs_of(first),
        lambda jobs: not jobs,
        60,
        "the Jobs of the uninstalled release are gone",
    )
    assert jobs_of(two) == theirs != set()
    assert [release.pods(part) for release in (two, elsewhere) for part in ("web", "mysql")] == pods
    for release in (two, elsewhere):
        with release.web() as web:
            web.completed()
