"""The few calls to the Kubernetes API that launching needs, objects as plain dicts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = (3, 10)  # to connect, to answer
DELETE = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}

Object = dict[str, Any]


class Refused(Exception):
    """The API server says no: its HTTP status and its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Away(Exception):
    """The API server does not answer: what was asked may have happened or not."""


class Busy(Away):
    """The API server does nothing for now, and says so."""


class Namespace:
    """One namespace of one cluster: the pod's own, or that of the kubeconfig's context."""

    def __init__(self) -> None:
        settings = client.Configuration()
        if SERVICE_ACCOUNT.is_dir():
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            self.name = (SERVICE_ACCOUNT / "namespace").read_text().strip()
        else:
            config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
            self.name = context["context"].get("namespace", "default")
        settings.retries = False  # the controller's next pass is the retry
        self._api = client.ApiClient(settings)

    def create_job(self, job: Object, dry_run: bool = False) -> None:
        """Raises Refused (409 when the name is taken) or Away."""
        self._call("POST", self._path("batch/v1", "jobs"), {"dryRun": "All"} if dry_run else {}, job)

    def job(self, name: str) -> Object:
        """Raises Refused (404 when there is none) or Away."""
        job: Object = self._call("GET", self._path("batch/v1", f"jobs/{name}"))
        return job

    def delete_job(self, name: str) -> None:
        """With its pods; nothing happens when there is none."""
        self._delete(self._path("batch/v1", f"jobs/{name}"), DELETE)

    def config_map(self, name: str) -> Object:
        """Raises Refused or Away."""
        config_map: Object = self._call("GET", self._path("v1", f"configmaps/{name}"))
        return config_map

    def delete_pod(self, name: str) -> None:
        """At once, without a word from its node; nothing happens when there is none."""
        self._delete(self._path("v1", f"pods/{name}"), {**DELETE, "gracePeriodSeconds": 0})

    def unfinished_jobs(self, labels: Mapping[str, str]) -> list[Object]:
        """Those with all of the labels that did not complete: the ones that did are kept for an hour, and many."""
        query = {"labelSelector": _selector(labels), "fieldSelector": "status.successful=0"}
        return self._list(self._path("batch/v1", "jobs"), query)

    def unfinished_pods(self, labels: Mapping[str, str]) -> list[Object]:
        """Those with all of the labels that did not succeed."""
        query = {"labelSelector": _selector(labels), "fieldSelector": "status.phase!=Succeeded"}
        return self._list(self._path("v1", "pods"), query)

    def warnings(self, reason: str) -> list[Object]:
        """Events that say why something is not there: FailedCreate of a Job's pods, FailedMount of a pod's volumes."""
        return self._list(self._path("v1", "events"), {"fieldSelector": f"reason={reason}"})

    def _delete(self, path: str, how: Object) -> None:
        try:
            self._call("DELETE", path, {}, how)
        except Refused as error:
            if error.status != 404:
                raise

    def _path(self, group: str, rest: str) -> str:
        return f"/{'api' if group == 'v1' else 'apis'}/{group}/namespaces/{self.name}/{rest}"

    def _list(self, path: str, query: Mapping[str, str]) -> list[Object]:
        items: list[Object] = self._call("GET", path, query).get("items") or []
        return items

    def _call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Object | None = None) -> Any:
        headers = {"Accept": "application/json", **({"Content-Type": "application/json"} if body else {})}
        asked = self._api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = self._api.call_api(*asked, _request_timeout=TIMEOUT_SECONDS)
            content = json.loads(answer.read())  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError, ValueError) as error:
            raise Away(f"the Kubernetes API does not answer: {error}") from error
        if answer.status in (429, 503):
            raise Busy(f"the Kubernetes API is busy: {content.get('message', answer.status)}")
        if answer.status >= 500:
            raise Away(f"the Kubernetes API failed: {content.get('message', answer.status)}")
        if answer.status >= 400:
            raise Refused(answer.status, str(content.get("message", answer.reason)))
        return content


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
