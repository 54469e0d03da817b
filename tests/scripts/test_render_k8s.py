"""`k8s/` is what the chart gives: nothing more, nothing less, nothing by hand, nothing secret."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import render_k8s
from scripts.config import ROOT

K8S = ROOT / "k8s"
OBJECTS: list[dict[str, Any]] = [
    document
    for path in sorted(K8S.glob("*.yaml"))
    if path.name != "kustomization.yaml"
    for document in yaml.safe_load_all(path.read_text())
]


def test_it_is_the_chart_s_and_rendered_twice_it_is_the_same() -> None:
    assert render_k8s.differences(K8S) == []
    assert render_k8s.manifests() == render_k8s.manifests()


def test_every_drift_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "k8s"
    shutil.copytree(K8S, folder)
    (folder / "rbac.yaml").unlink()
    (folder / "extra.yaml").write_text("a: b\n")
    (folder / "ingress.yaml").write_text((folder / "ingress.yaml").read_text() + "# by hand\n")
    assert render_k8s.differences(folder) == ["extra.yaml", "ingress.yaml", "rbac.yaml"]
    assert render_k8s.main(["--check"]) == 0


def test_everything_stands_in_one_namespace_and_nothing_is_helm_s() -> None:
    for document in OBJECTS:
        metadata = document["metadata"]
        assert document["kind"] == "Namespace" or metadata["namespace"] == "stock-backtest"
        assert not [
            name
            for name in metadata.get("annotations", {})
            if name.startswith(("helm.sh", "meta.helm.sh"))
        ]
        assert "Helm" not in metadata.get("labels", {}).values()


def test_kustomize_applies_all_but_the_secret() -> None:
    listed = yaml.safe_load((K8S / "kustomization.yaml").read_text())["resources"]
    assert sorted([*listed, "kustomization.yaml", "secret.yaml"]) == sorted(
        path.name for path in K8S.glob("*")
    )


def test_the_secret_is_refused_until_it_is_filled_in() -> None:
    (secret,) = (document for document in OBJECTS if document["kind"] == "Secret")
    assert set(secret["data"]) == {"DB_USER", "DB_PASSWORD", "MYSQL_ROOT_PASSWORD"}
    for value in secret["data"].values():
        with pytest.raises(ValueError, match="base64|alphabet|padding"):
            base64.b64decode(value, validate=True)


def test_what_was_promised_of_it() -> None:
    by_name = {(document["kind"], document["metadata"]["name"]): document for document in OBJECTS}
    assert by_name["Deployment", "stock-backtest-web"]["spec"]["replicas"] == 2
    assert by_name["Service", "stock-backtest-web"]["spec"]["type"] == "NodePort"
    namespace = by_name["Namespace", "stock-backtest"]["metadata"]
    assert namespace["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    job = yaml.safe_load(by_name["ConfigMap", "stock-backtest-worker-job"]["data"]["job.yaml"])
    assert (job["spec"]["backoffLimit"], job["spec"]["ttlSecondsAfterFinished"]) == (1, 3600)
    (claim,) = by_name["StatefulSet", "stock-backtest-mysql"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "5Gi"
