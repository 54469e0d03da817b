"""Every package is pinned, and `make sbom` and `make audit` are reliable. No Docker, no network."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from scripts.config import ROOT
from scripts.sbom import document
from tests.support.images import PROGRAMS, listed, pinned_versions, with_dependencies

DEBIAN = [
    ["libssl3:amd64", "3.0.17-1~deb12u2", "amd64", "openssl", "3.0.17-1~deb12u2"],
    ["zlib1g:amd64", "1:1.2.13.dfsg-1", "amd64", "zlib", "1:1.2.13.dfsg-1"],
]
FOUND: dict[str, Any] = {
    "python": "3.11.7",
    "system": {"ID": "debian", "VERSION_ID": "12"},
    "wheels": [["Flask", "3.1.3"], ["typing_extensions", "4.16.0"]],
    "debian": DEBIAN,
}


def test_every_package_of_the_images_is_pinned_and_none_besides() -> None:
    images = [with_dependencies(listed(stage)) for stage in PROGRAMS]
    assert set().union(*images) == set(pinned_versions())


def test_a_release_has_images_for_both_kinds_of_processors() -> None:
    """The digest that the chart names is that of the index of both."""
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yaml").read_text())
    steps = workflow["jobs"]["release"]["steps"]
    (build,) = [step["run"] for step in steps if step.get("name", "").startswith("Images")]
    assert "--platform linux/amd64,linux/arm64" in build
    (emulator,) = [step for step in steps if "setup-qemu-action" in step.get("uses", "")]
    assert steps.index(emulator) < [step.get("run") for step in steps].index(build)


def test_the_document_is_valid_cyclonedx() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(document("web:1", FOUND)) is None


def test_the_document_names_everything_as_scanners_do() -> None:
    written = json.loads(
        document("registry.example.org:5000/stocks/stock-backtest-web:0.3.0", FOUND)
    )
    whole = written["metadata"]["component"]
    assert (whole["type"], whole["name"], whole["version"]) == (
        "container",
        "stock-backtest-web",
        "0.3.0",
    )
    assert {
        component.get("purl", f"{component['name']} {component['version']}")
        for component in written["components"]
    } == {
        "debian 12",
        "pkg:generic/python@3.11.7",
        "pkg:pypi/flask@3.1.3",
        "pkg:pypi/typing-extensions@4.16.0",
        "pkg:deb/debian/libssl3@3.0.17-1~deb12u2"
        "?arch=amd64&distro=debian-12&upstream=openssl%403.0.17-1~deb12u2",
        "pkg:deb/debian/zlib1g@1:1.2.13.dfsg-1"
        "?arch=amd64&distro=debian-12&upstream=zlib%401:1.2.13.dfsg-1",
    }


def test_two_documents_differ_where_the_images_do() -> None:
    newer = {
        **FOUND,
        "debian": [["libssl3:amd64", "3.0.18", "amd64", "openssl", "3.0.18"], DEBIAN[1]],
    }
    before, again, after = (document("web:1", inventory) for inventory in (FOUND, FOUND, newer))
    assert before == again
    gone = set(before.splitlines()) - set(after.splitlines())
    assert gone
    assert all("3.0.17-1~deb12u2" in line for line in gone)


def test_an_audit_that_cannot_ask_fails() -> None:
    """Without --strict, the audit would pass over packages that it could not ask PyPI about."""
    (recipe,) = re.findall(r"^\t\S+/pip-audit (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"--strict", "--requirement requirements.txt"} <= set(
        re.findall(r"--\w+(?: requirements\S+)?", recipe)
    )
