"""Pods that the tests start themselves, fit for Pod Security restricted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

IMAGE = "stock-backtest-web:0.2.0"
SLEEP = "import time; time.sleep(3600)"


def python_pod(
    name: str, program: str = SLEEP, *arguments: str, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A pod that runs the program."""
    container = {
        "name": "python",
        "image": IMAGE,
        "command": ["python", "-c", program, *arguments],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    spec = {
        "containers": [container],
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": dict(labels or {})}, "spec": spec}
