"""The import contracts hold, refuse what they forbid, and are those of CONTRIBUTING.md."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import import_table
from scripts.config import ROOT

PACKAGES = ("backtest", "rules", "extracted", "service", "scripts")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
INTRUDER = "service/contract/status.py"  # a leaf: it may import nothing
# Contracts that the leaf itself cannot break.
OTHER_INTRUDERS = {
    "service.contract": "extracted/features/technical_indicators.py",
    "jsonschema": "service/prices/series.py",
    "Settings and logging are leaves": "scripts/config.py",
    "What to do about a run is decided without doing anything": "service/controller/decisions.py",
}


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages and the contracts, in a folder of their own."""
    folder = tmp_path_factory.mktemp("imports")
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def test_every_forbidden_import_is_refused(copy: Path) -> None:
    """One import for each contract, all planted at once: each contract is named as broken."""
    assert lint(copy).returncode == 0
    for contract in CONTRACTS:
        names = contract.get("protected_modules") or contract["forbidden_modules"]
        path = copy / OTHER_INTRUDERS.get(contract["name"], INTRUDER)
        path.write_text(f"{path.read_text()}\nimport {names[-1]}\n")
    done = lint(copy)
    kept = [line for line in done.stdout.splitlines() if line.endswith("KEPT")]
    assert done.returncode == 1
    assert kept == []
    assert f"0 kept, {len(CONTRACTS)} broken" in done.stdout


def test_the_contributors_table_is_current() -> None:
    assert import_table.table() in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_room_has_a_contract() -> None:
    rooms = {f"service.{path.parent.name}" for path in (ROOT / "service").glob("*/__init__.py")}
    assert rooms <= {contract["name"] for contract in CONTRACTS}


@pytest.mark.parametrize(
    "name",
    sorted(
        path.stem
        for path in (ROOT / "benchmarks").glob("*.py")
        if path.stem not in ("__init__", "contender")  # contender needs the peers it races with
    ),
)
def test_every_benchmark_finds_what_it_imports(name: str) -> None:
    importlib.import_module(f"benchmarks.{name}")
