"""The tree that README and CONTRIBUTING promise is there, and the environment has one reader."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent

PROMISED = """
CLAUDE.md README.md CONTRIBUTING.md CHANGELOG.md LICENSE requirements.txt pyproject.toml Makefile
.env.example .dockerignore Dockerfile docker-compose.yml ct.yaml .ci/run app.py worker.py
backtest/engine.py backtest/metrics.py extracted/features/technical_indicators.py
rules/base_rule.py rules/technical_rules.py rules/paper_rules.py rules/registry.py
rules/rule_validator.py rules/optimizer.py
service/contract service/prices service/engine service/search service/usecases service/controller
service/worker service/launchers/kubernetes service/store/migrations service/web/pages
scripts/config.py scripts/logger_config.py scripts/data_loader.py scripts/qa_prices.py
scripts/verify_mvp.py templates/base.html templates/dashboard.html templates/result.html
static/style.css data/SOURCES.md data/GOOG.csv data/Dockerfile tests
charts/stock-backtest/Chart.yaml charts/stock-backtest/charts/mysql/Chart.yaml
k8s/namespace.yaml k8s/configmap.yaml k8s/secret.yaml k8s/web-deployment.yaml
k8s/worker-job-template.yaml k8s/mysql-statefulset.yaml k8s/ingress.yaml k8s/kustomization.yaml
""".split()

SOURCES = [
    path
    for folder in ("backtest", "rules", "extracted", "service", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


@pytest.mark.parametrize("name", PROMISED)
def test_it_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_only_the_config_reads_the_environment() -> None:
    readers = [
        path.name
        for path in SOURCES
        if "os.environ" in path.read_text() or "getenv" in path.read_text()
    ]
    assert readers == ["config.py"]
