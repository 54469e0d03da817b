"""Renders `k8s/` from the packaged chart, for `kubectl apply -k k8s/`, Argo CD and Flux.

    python scripts/render_k8s.py           writes k8s/ anew (make manifests)
    python scripts/render_k8s.py --check   exit code 1 when k8s/ is not what the chart gives

The files depend on the chart alone: names are fixed, no cluster is asked, and there are neither
hooks nor passwords.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart, package

ROOT = Path(__file__).resolve().parent.parent
NAME = "stock-backtest"
SECRET = f"{NAME}-mysql-auth"
HEADER = "# Rendered from charts/stock-backtest by `make manifests`; do not edit.\n"
VALUES = {
    "web": {"service": {"type": "NodePort"}},
    "ingress": {"enabled": True, "hosts": [f"{NAME}.example.org"]},
    "mysql": {"auth": {"existingSecret": SECRET}},
}
NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAME, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
SECRET_HEADER = f"""# A template, left out of kustomization.yaml; it is refused as it stands.
# Fill in a copy, or make the Secret with
#   kubectl create namespace {NAME}
#   kubectl create secret generic {SECRET} --namespace {NAME} \
--from-literal=DB_USER=stock_backtest \\
#     --from-literal=DB_PASSWORD="$(openssl rand -hex 16)" \
--from-literal=MYSQL_ROOT_PASSWORD="$(openssl rand -hex 16)"
"""
SECRET_TEMPLATE = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": SECRET, "namespace": NAME},
    "type": "Opaque",
    "data": {
        name: f"<base64 of {what}>"
        for name, what in {
            "DB_USER": "stock_backtest",
            "DB_PASSWORD": "a password",
            "MYSQL_ROOT_PASSWORD": "another password",
        }.items()
    },
}

Object = dict[str, Any]


def manifests() -> dict[str, str]:
    """The files of `k8s/`: name to content."""
    files = {"namespace.yaml": HEADER + _text([NAMESPACE])}
    for path, text in sorted(_rendered().items()):
        documents = [document for document in yaml.safe_load_all(text) if document]
        objects = [_plain(document) for document in documents if not _is_hook(document)]
        if objects:
            files[_file_name(path)] = HEADER + _text(objects)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
    }

    files["kustomization.yaml"] = HEADER + _text([kustomization])
    files["secret.yaml"] = HEADER + SECRET_HEADER + _text([SECRET_TEMPLATE])
    return files


def _rendered() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        archive = package(path=ROOT / "charts" / NAME, destination=folder)
        with Chart.load(archive) as chart:
            texts = chart.render(VALUES, name=NAME, namespace=NAME)
    return {path: text for path, text in texts.items() if path.endswith(".yaml")}


def _is_hook(document: Object) -> bool:
    return "helm.sh/hook" in document["metadata"].get("annotations", {})


def _plain(document: Object) -> Object:
    """The object without the labels that only Helm reads, and with its namespace."""
    metadata = dict(document["metadata"])
    labels = dict(metadata["labels"])
    labels.pop("helm.sh/chart")
    labels["app.kubernetes.io/managed-by"] = "kustomize"
    return {**document, "metadata": {**metadata, "labels": labels, "namespace": NAME}}


def _file_name(path: str) -> str:
    """The name of a template's file in k8s/.

    `.../charts/mysql/templates/service.yaml` is `mysql-service.yaml` there.
    """
    name = Path(path).name
    return f"mysql-{name}" if "/charts/mysql/" in path else name


class _Dumper(yaml.SafeDumper):
    """Writes lists indented, and texts of several lines as blocks."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)


def _text(objects: Iterable[Object]) -> str:
    documents = [yaml.dump(item, Dumper=_Dumper, sort_keys=False, width=120) for item in objects]
    return "---\n".join(documents)


def differences(folder: Path) -> list[str]:
    """Names of files in the folder that are missing, too many, or not what the chart gives."""
    wanted = manifests()
    present = {path.name: path.read_text() for path in folder.glob("*")}
    return sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))


def main(words: Sequence[str]) -> int:
    """Writes k8s/, or with --check compares it with the chart."""
    folder = ROOT / "k8s"
    if list(words) == ["--check"]:
        changed = differences(folder)
        for name in changed:
            print(f"k8s/{name} is not what the chart gives; run make manifests", file=sys.stderr)
        return 1 if changed else 0
    folder.mkdir(exist_ok=True)
    wanted = manifests()
    for path in folder.glob("*"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
