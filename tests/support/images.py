"""What the Dockerfile puts into the images, read from the files alone."""

from __future__ import annotations

import re
from importlib.metadata import requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from scripts.config import ROOT

WEB = [
    "app",
    "service.controller.__main__",
    "service.store.migrate",
    "scripts.data_loader",
    "scripts.qa_prices",
]
PROGRAMS = {"web": WEB, "worker": ["worker"], "local": [*WEB, "worker"]}


def lines(pattern: str, text: str) -> list[str]:
    """All matches of the pattern at the start of a line."""
    return re.findall(f"^{pattern}", text, re.MULTILINE)


DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
LISTS = dict(lines(r'ARG (\w+)="(.*)"', DOCKERFILE))
STAGES = {
    stage: (base, body)
    for base, stage, body in re.findall(
        r"FROM (\S+) AS (\S+)\n(.*?)(?=\nFROM |\Z)", DOCKERFILE, re.DOTALL
    )
}


def instructions(stage: str) -> str:
    """A stage's instructions with those of the stages it is made from."""
    base, body = STAGES[stage]
    return (instructions(base) if base in STAGES else "") + body


def listed(stage: str) -> set[str]:
    """The packages that a stage installs by name."""
    variables = lines(r"RUN .*pip install .*\$(\w+)", instructions(stage))
    return {canonical(name) for variable in variables for name in LISTS[variable].split()}


def with_dependencies(names: set[str]) -> set[str]:
    """These packages and all that they require, as pip installs them."""
    installed: set[str] = set()
    todo = set(names)
    while todo:
        name = todo.pop()
        installed.add(name)
        for requirement in map(Requirement, requires(name) or []):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.add(canonical(requirement.name))
        todo -= installed
    return installed


def pinned_versions() -> dict[str, str]:
    """The version of each package in requirements.txt."""
    pins = lines(r"[\w.-]+==\S+", (ROOT / "requirements.txt").read_text())
    versions = dict(pin.split("==") for pin in pins)
    return {str(canonical(name)): version for name, version in versions.items()}
