"""The chart of the previous minor version, kept in releases/, can be upgraded to this one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.chart.immutable import fields_of_stateful_sets, selectors
from tests.chart.rendering import SECRET, Object, objects

RELEASES = sorted((Path(__file__).parent / "releases").glob("*.tgz"))


def test_the_release_before_is_kept() -> None:
    assert [path.name for path in RELEASES] == ["stock-backtest-0.2.0.tgz"]


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_nothing_that_cannot_change_does(path: Path) -> None:
    earlier = objects(SECRET, path=path)
    current = objects(SECRET)
    kept = selectors(current)
    changed = {
        name: labels
        for name, labels in selectors(earlier).items()
        if kept.get(name, labels) != labels
    }
    assert changed == {}
    assert fields_of_stateful_sets(current) == fields_of_stateful_sets(earlier)


@pytest.mark.parametrize("path", RELEASES, ids=lambda path: path.stem)
def test_its_default_values_are_still_understood(path: Path) -> None:
    """Whoever passes a whole values.yaml of an earlier release is not refused."""
    assert objects({**_values(path), **SECRET})


def _values(path: Path) -> Object:
    from helm_python import Chart

    with Chart.load(path) as chart:
        text = yaml.safe_dump(dict(chart.values))
    return dict(yaml.safe_load(text))
