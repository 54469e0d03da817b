"""A user's own rule on the cluster: docs/your-own-rule.md, in images made FROM ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from scripts.config import ROOT
from tests.e2e.cluster import Namespace, Release, have, merged, run
from tests.e2e.conftest import ONE_EACH
from tests.support.own_rule import write_example

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

PARTS = ("web", "worker")


@pytest.fixture(scope="module")
def images(
    namespace: Namespace, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, dict[str, str]]]:
    """Both, in the nodes of this kind cluster, as values of the chart."""
    context = namespace.kubectl("config", "current-context").strip()
    reason = have("docker", "kind") or (
        "" if context.startswith("kind-") else f"{context} is no kind cluster"
    )
    if reason:
        pytest.skip(f"no image can be built and loaded: {reason}")
    folder = tmp_path_factory.mktemp("images")
    write_example(folder / "falling-days")
    names = {part: f"stock-backtest-{part}-own:e2e" for part in PARTS}
    (folder / "Dockerfile").write_text(documented_dockerfile())
    for part, name in names.items():
        run(
            "docker",
            "build",
            "-q",
            "--build-arg",
            f"BASE=stock-backtest-{part}:0.3.0",
            "-t",
            name,
            str(folder),
        )
    run("kind", "load", "docker-image", *names.values(), "--name", context.removeprefix("kind-"))
    yield {
        part: dict(zip(("repository", "tag"), name.split(":"), strict=True))
        for part, name in names.items()
    }
    run("docker", "rmi", *names.values())


def documented_dockerfile() -> str:
    (text,) = re.findall(
        r"```dockerfile\n(.*?)```", (ROOT / "docs" / "your-own-rule.md").read_text(), re.DOTALL
    )
    return str(text)


def test_a_rule_in_web_and_worker_and_never_in_one_of_them(
    images: dict[str, dict[str, str]], helm_release: Callable[..., Release]
) -> None:
    half = helm_release(**merged(ONE_EACH, {"web": {"image": images["web"]}}))
    with half.web() as web:
        assert "FALLING_DAYS" in {rule["name"] for rule in web.ask("/rules")["rules"]}
        reason, message = web.failed(rule_id="FALLING_DAYS_4")
        assert reason == "RulesMismatch"
        assert message == "The rules of the worker are not those that the run was accepted with."
        assert web.completed()["num_trades"] == 34, "rules that both know are as they were"
    with half.upgrade(worker={"image": images["worker"]}).web() as web:
        result = web.completed(rule_id="FALLING_DAYS_4")
        assert result["num_trades"] == 36
        assert result["provenance"]["params"] == {"days": 4}
