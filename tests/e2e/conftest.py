"""Namespaces, releases and a browser for tests on a cluster, whose state a failed test shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright
from pytest_helm_charts.clusters import Cluster

from tests.e2e.cluster import Namespace, Release, merged
from tests.support.browsers import QUIET

SMALL = {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}}
TINY = dict.fromkeys(("web", "controller", "worker", "mysql"), SMALL)
ONE_EACH = {"web": {"replicaCount": 1}, "controller": {"replicaCount": 1}}
IN_USE: dict[str, Namespace] = {}


@pytest.fixture(scope="module")
def new_namespace(
    kube_cluster: Cluster, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces that enforce Pod Security restricted.

    By the end of the module no container in them may have been restarted, except where they were
    made with `restarts`. They are deleted without waiting: namespace_factory waits for half a
    minute each.
    """
    namespaces: list[Namespace] = []
    may_restart: set[str] = set()

    def make(suffix: str = "", name: str = "", restarts: bool = False) -> Namespace:
        module = request.module.__name__.rpartition("test_")[2].replace("_", "-")
        namespace = Namespace(name or f"e2e-{module}{suffix}", str(kube_cluster.kube_config_path))
        namespace.create()
        namespaces.append(namespace)
        if restarts:
            may_restart.add(namespace.name)
        IN_USE[namespace.name] = namespace
        return namespace

    yield make
    restarts = {
        namespace.name: namespace.restarts()
        for namespace in namespaces
        if namespace.name not in may_restart
    }
    for namespace in namespaces:
        del IN_USE[namespace.name]
        namespace.delete()
    assert not any(restarts.values()), restarts


@pytest.fixture(scope="module")
def namespace(new_namespace: Callable[..., Namespace]) -> Namespace:
    """The module's own."""
    return new_namespace()


@pytest.fixture(scope="module")
def helm_release(namespace: Namespace) -> Callable[..., Release]:
    """Installs a release into the module's namespace, with which it ends, and waits for it."""

    def install(
        name: str = "bt", *options: str, into: Namespace = namespace, **values: Any
    ) -> Release:
        release = Release(name, into, merged(TINY, values))
        release.install(*options)
        return release

    return install


@pytest.fixture(scope="session")
def start_browser() -> Iterator[Callable[..., Browser]]:
    """Starts Chromium, with more words on its command line."""
    with sync_playwright() as playwright:
        chromium = partial(playwright.chromium.launch, executable_path="/usr/bin/chromium")
        yield lambda *words: chromium(args=[*QUIET, *words])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows the pods, events and logs of its namespaces."""
    report = yield
    if report.failed and report.when != "teardown":  # type: ignore[attr-defined]
        for name, namespace in IN_USE.items():
            report.sections.append((f"namespace {name}", namespace.dump()))
    return report
