"""The images of `make kind-up` have the pinned packages, as `make sbom` reads them in an image."""

from __future__ import annotations

import json
import sys

import pytest

from tests.e2e.cluster import run
from tests.e2e.pods import IMAGE
from tests.support.images import listed, pinned_versions, with_dependencies

pytestmark = pytest.mark.cluster

# python:3.11-slim brings them; later ones have no wheel.
OF_THE_BASE = {"pip", "setuptools", "wheel"}


@pytest.mark.parametrize("stage", ["web", "worker"])
def test_an_image_has_the_pinned_packages_and_no_others(stage: str) -> None:
    written, _ = run(sys.executable, "-m", "scripts.sbom", IMAGE.replace("web", stage))
    versions_by_kind: dict[str, dict[str, str]] = {
        kind: {} for kind in ("pkg:pypi", "pkg:deb", "pkg:generic")
    }
    for component in json.loads(written)["components"]:
        if "purl" in component:
            versions_by_kind[component["purl"].partition("/")[0]][component["name"]] = component[
                "version"
            ]
    packages = {
        name: version
        for name, version in versions_by_kind["pkg:pypi"].items()
        if name not in OF_THE_BASE
    }
    versions = pinned_versions()
    assert packages == {name: versions[name] for name in with_dependencies(listed(stage))}
    assert versions_by_kind["pkg:generic"]["python"].startswith("3.11.")
    assert {"libc6", "libssl3", "dpkg"} <= set(versions_by_kind["pkg:deb"])
