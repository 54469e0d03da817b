"""A launcher of Kubernetes Jobs over a namespace in memory."""

from __future__ import annotations

import pytest

from service.launchers.kubernetes.launcher import KubernetesJobs
from tests.support.fake_namespace import FakeNamespace


@pytest.fixture
def namespace() -> FakeNamespace:
    return FakeNamespace()


@pytest.fixture
def jobs(namespace: FakeNamespace) -> KubernetesJobs:
    """The launcher."""
    return KubernetesJobs("bt-worker-job", namespace)  # type: ignore[arg-type]
