"""Renders `k8s/` from the packaged chart: the same objects for `kubectl apply -k k8s/`, Argo CD and Flux.

    python scripts/render_k8s.py           writes k8s/ anew (make manifests)
    python scripts/render_k8s.py --check   exit code 1 when k8s/ is not what the chart gives

A pure function of the chart: fixed names, no cluster, no hooks, no passwords.
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
#   kubectl create secret generic {SECRET} --namespace {NAME} --from-literal=DB_USER=stock_backtest \\
#     --from-literal=DB_PASSWORD="$(openssl rand -hex 16)" --from-literal=MYSQL_ROOT_PASSWORD="$(openssl rand -hex 16)"
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
        objects = [_plain(one) for one in yaml.safe_load_all(text) if one and not _is_hook(one)]
        if objects:
            files[_file_name(path)] = HEADER + _text(objects)
    listed = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(files),
    }
    secret = HEADER + SECRET_HEADER + _text([SECRET_TEMPLATE])
    return {**files, "kustomization.yaml": HEADER + _text([listed]), "secret.yaml": secret}


def _rendered() -> dict[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        archive = package(path=ROOT / "charts" / NAME, destination=folder)
        with Chart.load(archive) as chart:
            texts = chart.render(VALUES, name=NAME, namespace=NAME)
    return {path: text for path, text in texts.items() if path.endswith(".yaml")}


def _is_hook(one: Object) -> bool:
    return "helm.sh/hook" in one["metadata"].get("annotations", {})


def _plain(one: Object) -> Object:
    """Without what only Helm reads, and with the namespace written out."""
    labels = one["metadata"]["labels"]
    labels.pop("helm.sh/chart")
    labels["app.kubernetes.io/managed-by"] = "kustomize"
    one["metadata"]["namespace"] = NAME
    return one


def _file_name(path: str) -> str:
    """`.../charts/mysql/templates/service.yaml` is `mysql-service.yaml`."""
    name = Path(path).name
    return f"mysql-{name}" if "/charts/mysql/" in path else name


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, lists indented: as people write them."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _string)


def _text(objects: Iterable[Object]) -> str:
    return "---\n".join(
        yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=120) for one in objects
    )


def differences(folder: Path) -> list[str]:
    """Names of files in the folder that are missing, too many, or not what the chart gives."""
    wanted, found = manifests(), {path.name: path.read_text() for path in folder.glob("*")}
    return sorted(name for name in {*wanted, *found} if wanted.get(name) != found.get(name))


def main(words: Sequence[str]) -> int:
    """Writes, or checks."""
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
