"""The few calls to the Kubernetes API that launching needs, objects as plain dicts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Generic, Required, TypedDict, TypeVar

import msgspec
import urllib3
from kubernetes import client, config
from prometheus_client import Histogram

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT_SECONDS = (3, 10)  # to connect, to answer
DELETE = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}

PAGE = 250  # objects of one answer: 2 MB, of which little is kept
SECONDS = Histogram(
    "stock_backtest_kubernetes_request_seconds",
    "Calls to the Kubernetes API; code 0 where there was no answer",
    ["verb", "resource", "code"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)

Object = dict[str, Any]


class Metadata(TypedDict, total=False):
    """What is looked at of any object."""

    name: str
    uid: str
    labels: dict[str, str]
    creationTimestamp: str
    deletionTimestamp: str


class Found(TypedDict, total=False):
    """What is looked at of a listed Job or pod; the rest, nine tenths of it, is passed over unread."""

    metadata: Required[Metadata]
    status: Object


Item = TypeVar("Item")


class Page(msgspec.Struct, Generic[Item]):
    """An answer to a LIST; `metadata` says how to `continue`."""

    items: list[Item] | None
    metadata: Object


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
        self._ahead = timedelta()  # the API server's clock, of ours

    def now(self) -> datetime:
        """By the clock of the API server that answered last, to a second; ours may be wrong."""
        return datetime.now(UTC) + self._ahead

    def create_job(self, job: Object, dry_run: bool = False) -> None:
        """Raises Refused (409 when the name is taken) or Away."""
        self._call(
            "POST", self._path("batch/v1", "jobs"), {"dryRun": "All"} if dry_run else {}, job
        )

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

    def living_pods(self, labels: Mapping[str, str]) -> list[Object]:
        """Those with all of the labels that have not ended."""
        query = {
            "labelSelector": _selector(labels),
            "fieldSelector": "status.phase!=Succeeded,status.phase!=Failed",
        }
        return self._list(self._path("v1", "pods"), query)

    def pods(self, labels: Mapping[str, str]) -> list[Object]:
        """Those with all of the labels."""
        return self._list(self._path("v1", "pods"), {"labelSelector": _selector(labels)})

    def warnings(self, reason: str) -> list[Object]:
        """Events that say why something is not there: FailedCreate of a Job's pods, FailedMount of a pod's volumes."""
        return self._list(self._path("v1", "events"), {"fieldSelector": f"reason={reason}"}, Object)

    def events(self, name: str) -> list[Object]:
        """What happened to the object of that name."""
        return self._list(
            self._path("v1", "events"), {"fieldSelector": f"involvedObject.name={name}"}, Object
        )

    def log(self, pod: str, container: str, lines: int) -> str:
        """The end of what the container wrote; raises Refused when it has not started."""
        query = {"container": container, "tailLines": str(lines)}
        _, text = self._ask("GET", self._path("v1", f"pods/{pod}/log"), query, seconds=(3, 3))
        return text.decode(errors="replace")

    def _compare_clocks(self, date: str | None) -> None:
        with suppress(TypeError, ValueError):  # no date, or none that can be read
            self._ahead = parsedate_to_datetime(str(date)) - datetime.now(UTC)

    def _delete(self, path: str, how: Object) -> None:
        try:
            self._call("DELETE", path, {}, how)
        except Refused as error:
            if error.status != 404:
                raise

    def _path(self, group: str, rest: str) -> str:
        return f"/{'api' if group == 'v1' else 'apis'}/{group}/namespaces/{self.name}/{rest}"

    def _list(self, path: str, query: Mapping[str, str], kind: Any = Found) -> list[Object]:
        """Page by page, since there may be thousands of 10 kB; raises Refused (410) when it took too long."""
        found: list[Object] = []
        page = {**query, "limit": str(PAGE)}
        while True:
            answer = self._call("GET", path, page, kind=Page[kind])
            found += answer.items or []
            if not answer.metadata.get("continue"):
                return found
            page["continue"] = answer.metadata["continue"]

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        kind: Any = Object,
    ) -> Any:
        status, answer = self._ask(method, path, query, body)
        try:
            return msgspec.json.decode(answer, type=kind)
        except msgspec.DecodeError as error:
            raise Away(f"the Kubernetes API answers {status} with nonsense: {error}") from error

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        seconds: tuple[float, float] = TIMEOUT_SECONDS,
    ) -> tuple[int, bytes]:
        headers = {
            "Accept": "application/json, */*",
            **({"Content-Type": "application/json"} if body else {}),
        }
        asked = self._api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers, body=body,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        started, status = time.monotonic(), 0
        try:
            answer = self._api.call_api(*asked, _request_timeout=seconds)
            content = answer.read()  # type: ignore[no-untyped-call]
            status = answer.status
            self._compare_clocks(answer.getheader("Date"))  # type: ignore[no-untyped-call]
        except (urllib3.exceptions.HTTPError, client.ApiException, OSError) as error:
            raise Away(f"the Kubernetes API does not answer: {error}") from error
        finally:
            SECONDS.labels(*_kind(method, path), status).observe(time.monotonic() - started)
        _refuse(status, content)
        return status, content


def _refuse(status: int, content: bytes) -> None:
    """Raises what the status means; 401 is about us, not about what was asked, and may be over in a moment."""
    if status < 400:
        return
    try:
        message = str(msgspec.json.decode(content)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"status {status}"
    if status in (429, 503):
        raise Busy(f"the Kubernetes API is busy: {message}")
    if status == 401 or status >= 500:
        raise Away(f"the Kubernetes API fails with {status}: {message}")
    raise Refused(status, message)


def _kind(method: str, path: str) -> tuple[str, str]:
    """Verb and resource, as the API server counts them."""
    resource, _, rest = path.partition("/namespaces/")[2].partition("/")[2].partition("/")
    resource = f"{resource}/log" if rest.endswith("/log") else resource
    return {"GET": "get" if rest else "list", "POST": "create"}.get(
        method, method.lower()
    ), resource


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
