"""Every allowed value makes objects that Kubernetes takes, the same ones each time."""

from __future__ import annotations

from collections import Counter

import pytest
from helm_python import Chart
from helm_python.chart import lint
from hypothesis import HealthCheck, Phase, given, settings

from tests.chart import drawing
from tests.chart.cluster_schema import OLDEST, VERSIONS, faults
from tests.chart.conftest import CASES
from tests.chart.rendering import (
    CHART,
    CI,
    Object,
    config_of,
    files,
    filled_job,
    object_of,
    objects,
    pods,
    refusal,
    worker_job,
)
from tests.chart.restricted import violations

NOTES = "stock-backtest/templates/NOTES.txt"
URLS = {
    "minimal": "http://127.0.0.1:5000/",
    "auth-basic": "http://127.0.0.1:5000/",
    "auth-proxy": "http://127.0.0.1:5000/",
    "base-path": "http://quant.example.org/research/backtests/",
    "external-database": "http://127.0.0.1:5000/",
    "gateway": "http://backtests.example.org/",
    "nodeport": "http://<address of a node>:<its node port>/",
    "production": "https://backtests.example.org/",
}


def test_lint(case: Object) -> None:
    report = lint(CHART, case, strict=True, with_subcharts=True, kube_version=f"v{OLDEST}.0")
    assert (report["messages"], report["errors"]) == ([], [])


def test_every_file_in_ci_is_one_that_chart_testing_runs() -> None:
    names = sorted(path.name for path in (CHART / "ci").iterdir())
    assert names == [path.name for path in CI], (
        "chart-testing leaves out what is not named *-values.yaml"
    )
    assert {path.name.removesuffix("-values.yaml") for path in CI} == set(URLS)


def test_objects_fit_the_oldest_and_the_newest_kubernetes(case: Object) -> None:
    manifests = objects(case)
    assert faults([*manifests, filled_job(manifests)]) == []


def test_the_strict_schemas_find_faults() -> None:
    manifests = objects()
    typo = object_of(manifests, "Deployment", "-web")
    wrong = filled_job(manifests)
    typo["spec"]["replcas"] = 2
    wrong["spec"]["backoffLimit"] = "one"
    unknown = {"apiVersion": "v1", "kind": "Sevice", "metadata": {"name": "x"}}
    texts = faults([typo, wrong, unknown])
    assert len(texts) == 3 * len(VERSIONS)
    assert "'replcas'" in texts[0]
    assert "backoffLimit" in texts[2]


def test_two_renders_are_equal(case: Object) -> None:
    with Chart.load(CHART) as chart:
        assert chart.render(case, name="bt", namespace="stocks") == files(case)


def test_an_upgrade_renders_what_an_install_renders(case: Object) -> None:
    with Chart.load(CHART) as chart:
        assert chart.render(
            case, name="bt", namespace="stocks", is_upgrade=True, is_install=False, revision=7
        ) == files(case)


@pytest.mark.parametrize("name", URLS)
def test_the_notes_name_the_url(name: str) -> None:
    text = files(CASES[name])[NOTES]
    assert URLS[name] in text
    assert "<no value>" not in text
    assert "%!" not in text, "a printf went wrong"
    assert "helm --namespace stocks test bt" in text


def test_names_of_objects_are_unique(case: Object) -> None:
    names = Counter((manifest["kind"], manifest["metadata"]["name"]) for manifest in objects(case))
    assert [name for name, times in names.items() if times > 1] == []


def test_values_drawn_at_random() -> None:
    """Each renders, or is refused in our own words."""
    seen: Counter[str] = Counter()

    @settings(
        derandomize=True,
        max_examples=40,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(drawing.values())
    def check(values: Object) -> None:
        why = refusal(values)
        seen["refused" if why else "rendered"] += 1
        if why:
            assert why.startswith("execution error at ("), (
                why
            )  # so Helm begins what `fail` said, and nothing else
        else:
            _check_random(values)

    check()
    # Hypothesis also draws constants of the modules that are loaded, whichever those are here.
    assert min(seen["rendered"], seen["refused"]) >= 2, seen


def _check_random(values: Object) -> None:
    manifests = objects(values)
    with Chart.load(CHART) as chart:
        assert chart.render(values, name="bt", namespace="stocks") == files(values)
    assert faults([*manifests, worker_job(manifests)]) == []
    assert [fault for _, pod in pods(manifests) for fault in violations(pod["spec"])] == []
    config_of(manifests)
