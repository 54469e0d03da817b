"""Changes the template of the Jobs, and has programs that take the worker's place in them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.e2e.cluster import Release

Job = dict[str, Any]
Change = Callable[[Job], None]


def worker_of(job: Job) -> dict[str, Any]:
    """The worker's container in the Job."""
    container: dict[str, Any] = pod_of(job)["containers"][0]
    return container


def pod_of(job: Job) -> dict[str, Any]:
    """The spec of its pods."""
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def program(text: str) -> Change:
    """Python instead of the worker."""
    return lambda job: worker_of(job).update(command=["python", "-c", text])


def ends(code: int) -> Change:
    """A worker that says a word and ends with that code."""
    return program(f"print('the worker says {code}', flush=True); raise SystemExit({code})")


def performs(instead: str) -> Change:
    """The worker, with another action after it has claimed its run and before it computes."""
    return program(f"""
import os, signal, sys, time
import service.worker.run, worker
perform = service.worker.run.perform
def instead(*asked, **options):
    {instead}
    return perform(*asked, **options)
service.worker.run.perform = instead
sys.exit(worker.main())
""")


@contextmanager
def changed(release: Release, change: Change) -> Iterator[None]:
    """Changes every Job that is made inside the block: the controller reads the template anew."""
    name = release.name_of("configmap", "worker")
    text = release.namespace.object("configmap", name)["data"]["job.yaml"]
    job = yaml.safe_load(text)
    change(job)
    write(release, name, yaml.safe_dump(job))
    try:
        yield
    finally:
        write(release, name, text)


def write(release: Release, name: str, text: str) -> None:
    """Keeps the ConfigMap's uid: Jobs are owned by it."""
    patch = json.dumps({"data": {"job.yaml": text}})
    release.namespace.kubectl("patch", "configmap", name, "--type=merge", "--patch", patch)
