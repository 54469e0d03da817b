"""The combinations of values that most tests walk through."""

from __future__ import annotations

import pytest

from tests.chart.rendering import CI, EXTERNAL, SECRET, Object, values_of

CASES: dict[str, Object] = {
    "defaults": SECRET,
    "external": EXTERNAL,
    **{path.stem.removesuffix("-values"): values_of(path) for path in CI},
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Object:
    """The values of one file in ci/, or the smallest that render without a cluster."""
    return CASES[request.param]
