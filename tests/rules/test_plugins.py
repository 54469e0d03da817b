"""Rules from other packages: the documented example works, bad ones are left out and named."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rules import plugins
from rules.base_rule import BaseRule, Parameter, RuleMetadata
from rules.registry import BUILT_IN, rule_from_id
from rules.technical_rules import MovingAverageCross
from scripts.config import ROOT
from tests.support.own_rule import write_example


def python(site: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(site), str(ROOT)])
    names = {"PYTHONPATH": paths, "SQLITE_PATH": "", **environment}
    return subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env={**os.environ, **names},
        capture_output=True,
        text=True,
    )


@pytest.mark.process
def test_the_documented_example(tmp_path: Path) -> None:
    source = write_example(tmp_path / "falling-days")
    site = tmp_path / "site"
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    pip = ["-m", "pip", "install", "--quiet", *offline]
    installed = python(site, *pip, "--target", str(site), str(source))
    assert installed.returncode == 0, installed.stderr

    catalogue = python(
        site, "-c", "from rules.plugins import installed_rules as r; print(*r(True))"
    )
    assert catalogue.stdout.split() == [*BUILT_IN, "FALLING_DAYS"]

    request = {
        "TICKER": "GOOG",
        "RULE_ID": "FALLING_DAYS_4",
        "START_DATE": "2013-01-02",
        "END_DATE": "2020-02-07",
    }
    done = python(site, "worker.py", **request)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["status"] == "completed"
    assert result["num_trades"] == 36
    assert result["provenance"]["params"] == {"days": 4}

    combined = python(site, "worker.py", **{**request, "RULE_ID": "ANY(FALLING_DAYS_4,RSI)"})
    mixed = json.loads(combined.stdout)["provenance"]
    assert mixed["rule_id"] == "ANY(FALLING_DAYS_4,RSI_14_30_70)"
    assert (
        mixed["rules_digest"]
        == result["provenance"]["rules_digest"]
        != plugins.rules_digest(rule_from_id("RSI"))
    )

    leak = "        falls = falls.shift(-1)\n        return signals("
    peeking = (site / "falling_days.py").read_text().replace("        return signals(", leak)
    (tmp_path / "leaky").mkdir()
    (tmp_path / "leaky" / "falling_days.py").write_text(peeking)
    for dist in site.glob("*.dist-info"):
        (tmp_path / "leaky" / dist.name).mkdir()
        for name in ("METADATA", "entry_points.txt"):
            (tmp_path / "leaky" / dist.name / name).write_text((dist / name).read_text())
    refused = python(tmp_path / "leaky", "worker.py", **request)
    assert refused.returncode == 64, "by hand, nobody else has checked it"
    assert "looks ahead" in refused.stderr
    assert refused.stdout == ""

    (site / "falling_days.py").write_text((site / "falling_days.py").read_text() + "# changed\n")
    changed = json.loads(python(site, "worker.py", **request).stdout)
    assert changed["provenance"]["rules_digest"] != result["provenance"]["rules_digest"]


class Fine(MovingAverageCross):
    metadata = RuleMetadata("FINE", "", "", MovingAverageCross.metadata.parameters)


class Taken(MovingAverageCross):
    pass


class Mode(MovingAverageCross):
    metadata = RuleMetadata("ALL", "", "", MovingAverageCross.metadata.parameters)


class LowerCase(MovingAverageCross):
    metadata = RuleMetadata("lower", "", "", MovingAverageCross.metadata.parameters)


class Peeks(Fine):
    metadata = RuleMetadata("PEEKS", "", "", MovingAverageCross.metadata.parameters)

    def generate_signals(self, data):  # type: ignore[no-untyped-def]
        return super().generate_signals(data).shift(-1).fillna(0)


class OutOfRange(Fine):
    metadata = RuleMetadata(
        "OUT", "", "", (Parameter("fast", 5, 10, 20, ""), Parameter("slow", 30, 1, 99, ""))
    )


no_rule = object()


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Taken", "the name MA_CROSS is taken"),
        ("Mode", "the name ALL is taken"),
        ("LowerCase", "is not of the form UPPER_CASE"),
        ("Peeks", "looks ahead"),
        ("OutOfRange", "cannot be made with its defaults"),
        ("no_rule", "is no subclass"),
        ("Nowhere", "cannot be imported: AttributeError"),
    ],
)
def test_bad_rules_are_left_out_and_named(
    value: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [
        EntryPoint(name, f"tests.rules.test_plugins:{name}", plugins.GROUP)
        for name in (value, "Fine")
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    plugins.installed_rules.cache_clear()
    with caplog.at_level(logging.ERROR):
        catalogue = plugins.installed_rules(True)
    plugins.installed_rules.cache_clear()
    assert list(catalogue) == [*BUILT_IN, "FINE"]
    (record,) = caplog.records
    assert why in record.getMessage()
    assert value in record.getMessage()


def test_a_worker_does_not_validate_again(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [EntryPoint("Peeks", "tests.rules.test_plugins:Peeks", plugins.GROUP)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: entries)
    plugins.installed_rules.cache_clear()
    assert "PEEKS" in plugins.installed_rules(False)
    plugins.installed_rules.cache_clear()


def test_digest_depends_on_our_sources_only_for_our_rules() -> None:
    digests = {
        plugins.rules_digest(rule_from_id(rule_id)) for rule_id in ("RSI", "BB", "ALL(RSI,BB)")
    }
    (digest,) = digests
    assert len(digest) == 64
    assert plugins.rules_digest(Fine()) != digest
    assert plugins.digest_of("MA_CROSS") == plugins.digest_of("ALL(RSI,BB)") == digest
    assert plugins.digest_of("NOTHING") == ""
    assert issubclass(Fine, BaseRule)
