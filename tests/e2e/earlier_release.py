"""The previous release: its packaged chart, and images that are built from its commit."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile

import pytest
import yaml

from scripts.config import ROOT
from tests.e2e.cluster import have, run

VERSION = "0.2.0"
PACKAGE = ROOT / f"tests/chart/releases/stock-backtest-{VERSION}.tgz"
# The last commit before the schema became 0004
COMMIT = "6578146228df867f76d95af73f96f84f13ba9467"
IMAGES = [f"stock-backtest-{part}:{VERSION}" for part in ("web", "worker", "prices")]


def require() -> None:
    """Skips the test where the images cannot be built; in CI it fails."""
    problem = have("git", "docker", "kind") or _missing_commit()
    if problem and os.environ.get("CI") == "true":
        pytest.fail(problem)
    if problem:
        pytest.skip(problem)


def _missing_commit() -> str:
    done = subprocess.run(
        ["git", "cat-file", "-e", f"{COMMIT}^{{commit}}"], cwd=ROOT, capture_output=True
    )
    missing = (
        f"commit {COMMIT[:10]} of release {VERSION} is not in this clone: git fetch --unshallow"
    )
    return missing if done.returncode else ""


def put_into(cluster: str) -> None:
    """Builds and loads the images, unless every node has images of that name.

    They are always built from the same commit, so that an image of that name is the right one.
    """
    if all(_has(node) for node in run("kind", "get", "nodes", "--name", cluster)[0].split()):
        return
    web, worker, prices = IMAGES
    _build(web, COMMIT, "--target", "web")
    _build(worker, COMMIT, "--target", "worker")
    _build(prices, f"{COMMIT}:data", "--build-arg", f"WEB_IMAGE={web}")
    run("kind", "load", "docker-image", "--name", cluster, *IMAGES)


def _has(node: str) -> bool:
    known = run(
        "docker", "exec", node, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet"
    )[0].split()
    return {f"docker.io/library/{image}" for image in IMAGES} <= set(known)


def _build(image: str, tree: str, *options: str) -> None:
    labels = ["--build-arg", f"CODE_REVISION={COMMIT}", "--build-arg", f"VERSION={VERSION}"]
    words = ["docker", "build", "--quiet", *labels, *options, "--tag", image, "-"]
    subprocess.run(words, input=_archive(tree), check=True, capture_output=True)


def _archive(*words: str) -> bytes:
    return subprocess.run(
        ["git", "archive", *words], cwd=ROOT, check=True, capture_output=True
    ).stdout


def packaged() -> dict[str, bytes]:
    """The files of the chart as they were released; helm writes Chart.yaml anew."""
    return _files(PACKAGE.read_bytes())


def committed() -> dict[str, bytes]:
    """The files of the chart at the commit."""
    return _files(_archive("--prefix=", f"{COMMIT}:charts", "stock-backtest"))


def version_of(files: dict[str, bytes]) -> str:
    return str(yaml.safe_load(files["stock-backtest/Chart.yaml"])["version"])


def _files(archive: bytes) -> dict[str, bytes]:
    templates = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            content = tar.extractfile(member)
            if content is not None:
                templates[member.name] = content.read()
    return templates
