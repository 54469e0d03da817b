"""The promised tree is there, functions and files are of readable size, imports follow the table in CLAUDE.md."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

PROMISED = """
CLAUDE.md README.md CHANGELOG.md LICENSE requirements.txt pyproject.toml Makefile .env.example app.py worker.py
backtest/engine.py backtest/metrics.py rules/base_rule.py rules/technical_rules.py rules/paper_rules.py
rules/registry.py rules/rule_validator.py extracted/features/technical_indicators.py
service/runs.py service/engine_adapter.py service/enhanced_engine.py service/price_checks.py service/figures.py
service/controller.py service/decisions.py service/vitals.py service/contract
service/launchers/launcher.py service/launchers/local_process.py
service/launchers/kubernetes_job.py Dockerfile docker-compose.yml .dockerignore data/Dockerfile ct.yaml
charts/stock-backtest/Chart.yaml charts/stock-backtest/values.schema.json charts/stock-backtest/charts/mysql/Chart.yaml
k8s/namespace.yaml k8s/configmap.yaml k8s/secret.yaml k8s/web-deployment.yaml k8s/worker-job-template.yaml
k8s/mysql-statefulset.yaml k8s/ingress.yaml k8s/kustomization.yaml
service/store/database.py service/store/tables.py service/store/run_store.py service/store/price_store.py
service/store/migrations service/web/factory.py service/web/pages.py service/web/api.py service/web/health.py
service/web/errors.py scripts/config.py scripts/logger_config.py scripts/data_loader.py scripts/qa_prices.py
scripts/verify_mvp.py templates/base.html templates/dashboard.html templates/result.html static/style.css
data/SOURCES.md data/GOOG.csv tests .ci/run
""".split()

SOURCES = [
    path
    for folder in ("backtest", "rules", "extracted", "service", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if "versions" not in path.parts
]


@pytest.mark.parametrize("name", PROMISED)
def test_it_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_imports_follow_the_table() -> None:
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < 300, "split the file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, f"split {node.name}"


def test_only_the_config_reads_the_environment() -> None:
    readers = [path.name for path in SOURCES if "os.environ" in path.read_text() or "getenv" in path.read_text()]
    assert readers == ["config.py"]
