"""The calls to the Kubernetes API that launching jobs needs; objects are plain dicts."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import msgspec
import urllib3
from kubernetes import client, config
from prometheus_client import Histogram

from service.launchers.kubernetes.objects import JobOrPod, Object, Page

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# to connect, and to answer
TIMEOUT_SECONDS = (3, 10)
LOG_TIMEOUT_SECONDS = (3, 3)
# Objects of one answer to a LIST: some 2 MB, of which little is kept.
PAGE_SIZE = 250
# The client's model of a Job refuses values that an API server takes, `cpu: 1` for one. Without
# the client's validation the method sends the Job as the template has it.
CREATE_JOB = inspect.unwrap(client.BatchV1Api.create_namespaced_job)
REQUEST_SECONDS = Histogram(
    "stock_backtest_kubernetes_request_seconds",
    "Calls to the Kubernetes API; code 0 where there was no answer",
    ["verb", "resource", "code"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)


class Refused(Exception):
    """The API server refuses a call: `status` is the HTTP status, the text is its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Away(Exception):
    """The API server does not answer; whether it did what was asked is unknown."""


class Busy(Away):
    """The API server answers that it has too much to do, and did not do what was asked."""


class Namespace:
    """One namespace of one cluster: the pod's own, or that of the kubeconfig's context.

    Every method that calls the API server raises Refused or Away.
    """

    def __init__(self) -> None:
        settings = client.Configuration()
        if SERVICE_ACCOUNT.is_dir():
            config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            self.name = (SERVICE_ACCOUNT / "namespace").read_text().strip()
        else:
            config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            _, context = config.list_kube_config_contexts()  # type: ignore[no-untyped-call]
            self.name = context["context"].get("namespace", "default")
        # the next pass of the controller is the retry
        settings.retries = False
        self._api = client.ApiClient(settings)
        self._batch = client.BatchV1Api(self._api)
        self._core = client.CoreV1Api(self._api)
        # by which the clock of the API server is ahead of ours
        self._clock_difference = timedelta()

    def now(self) -> datetime:
        """The time by the clock of the API server that answered last, to a second."""
        return datetime.now(UTC) + self._clock_difference

    def create_job(self, job: Object, dry_run: bool = False) -> None:
        """Creates the Job; with `dry_run` the API server only tries whether it would.

        Raises Refused with status 409 when the name is taken.
        """
        content = self._call(
            "create",
            "jobs",
            CREATE_JOB,
            self._batch,
            self.name,
            job,
            dry_run="All" if dry_run else None,
            _headers=_json_headers(),
        )
        _decoded(content, Object)  # what cannot be read may come from something in between

    def job(self, name: str) -> Object:
        """The Job of that name; raises Refused with status 404 when there is none."""
        return self._get("jobs", self._batch.read_namespaced_job, name)

    def delete_job(self, name: str) -> None:
        """Deletes the Job and its pods; without such a Job nothing happens."""
        self._delete("jobs", self._batch.delete_namespaced_job, name)

    def config_map(self, name: str) -> Object:
        """The ConfigMap of that name; raises Refused with status 404 when there is none."""
        return self._get("configmaps", self._core.read_namespaced_config_map, name)

    def delete_pod(self, name: str) -> None:
        """Deletes the pod at once, without waiting for its node; without it nothing happens."""
        self._delete("pods", self._core.delete_namespaced_pod, name, grace_period_seconds=0)

    def end_pod(self, name: str) -> None:
        """Tells the pod's containers to end, and deletes it; without it nothing happens."""
        self._delete("pods", self._core.delete_namespaced_pod, name)

    def unfinished_jobs(self, labels: Mapping[str, str]) -> list[Object]:
        """The Jobs with all of the labels of which no pod has succeeded.

        Jobs that succeeded are kept for an hour, so that there may be very many of them.
        """
        return self._list(
            "jobs",
            self._batch.list_namespaced_job,
            JobOrPod,
            label_selector=_selector(labels),
            field_selector="status.successful=0",
        )

    def all_jobs(self, labels: Mapping[str, str]) -> list[Object]:
        """The Jobs with all of the labels; all Jobs of the namespace without labels."""
        return self._list(
            "jobs", self._batch.list_namespaced_job, JobOrPod, label_selector=_selector(labels)
        )

    def living_pods(self, labels: Mapping[str, str]) -> list[Object]:
        """The pods with all of the labels that have not ended."""
        return self._list(
            "pods",
            self._core.list_namespaced_pod,
            JobOrPod,
            label_selector=_selector(labels),
            field_selector="status.phase!=Succeeded,status.phase!=Failed",
        )

    def pods(self, labels: Mapping[str, str]) -> list[Object]:
        """The pods with all of the labels."""
        return self._list(
            "pods", self._core.list_namespaced_pod, JobOrPod, label_selector=_selector(labels)
        )

    def warnings(self, reason: str) -> list[Object]:
        """The events with that reason.

        FailedCreate says why a Job has no pods, FailedMount why a pod has no volumes.
        """
        return self._events(f"reason={reason}")

    def events(self, name: str) -> list[Object]:
        """The events about the object of that name."""
        return self._events(f"involvedObject.name={name}")

    def log(self, pod: str, container: str, lines: int) -> str:
        """The last lines that the container wrote; raises Refused when it has not started."""
        content = self._call(
            "get",
            "pods/log",
            self._core.read_namespaced_pod_log,
            pod,
            self.name,
            container=container,
            tail_lines=lines,
            _request_timeout=LOG_TIMEOUT_SECONDS,
        )
        return content.decode(errors="replace")

    def _events(self, field_selector: str) -> list[Object]:
        return self._list(
            "events", self._core.list_namespaced_event, Object, field_selector=field_selector
        )

    def _get(self, resource: str, method: Callable[..., Any], name: str) -> Object:
        content = self._call("get", resource, method, name, self.name)
        document: Object = _decoded(content, Object)
        return document

    def _delete(
        self,
        resource: str,
        method: Callable[..., Any],
        name: str,
        grace_period_seconds: int | None = None,
    ) -> None:
        body = client.V1DeleteOptions(
            api_version="v1",
            kind="DeleteOptions",
            propagation_policy="Foreground",
            grace_period_seconds=grace_period_seconds,
        )
        try:
            content = self._call(
                "delete", resource, method, name, self.name, body=body, _headers=_json_headers()
            )
        except Refused as error:
            if error.status != 404:
                raise
        else:
            _decoded(content, Object)

    def _list(
        self, resource: str, method: Callable[..., Any], item: Any, **selectors: str
    ) -> list[Object]:
        """All objects that the selectors select, read page by page: there may be thousands.

        Raises Refused with status 410 when reading them took too long.
        """
        objects: list[Object] = []
        options: dict[str, Any] = {**selectors, "limit": PAGE_SIZE}
        while True:
            content = self._call("list", resource, method, self.name, **options)
            page = _decoded(content, Page[item])
            objects += page.items or []
            position = page.metadata.get("continue")
            if not position:
                return objects
            options["_continue"] = position

    def _call(
        self,
        verb: str,
        resource: str,
        method: Callable[..., Any],
        *arguments: Any,
        **options: Any,
    ) -> bytes:
        """The content of the answer to one call of the client; raises Refused or Away.

        `verb` and `resource` name the call in the metrics as the API server names it.
        """
        options = {"_request_timeout": TIMEOUT_SECONDS, **options}
        started = time.monotonic()
        status = 0
        try:
            # An answer that is not preloaded is not turned into objects of the client either.
            answer = method(*arguments, _preload_content=False, **options)
            content: bytes = answer.data
            status = answer.status
            self._compare_clocks(answer.headers)
        except client.ApiException as error:
            status = error.status
            self._compare_clocks(error.headers)
            raise _failure(error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Away(f"the Kubernetes API does not answer: {error}") from error
        finally:
            seconds = time.monotonic() - started
            REQUEST_SECONDS.labels(verb, resource, status).observe(seconds)
        return content

    def _compare_clocks(self, headers: Mapping[str, str] | None) -> None:
        date = (headers or {}).get("Date")
        # without a date, or with one that cannot be read, the last comparison stays
        with suppress(TypeError, ValueError):
            self._clock_difference = parsedate_to_datetime(str(date)) - datetime.now(UTC)


def _json_headers() -> dict[str, str]:
    """The type of a body, which the client leaves out; it adds headers to what it is given."""
    return {"Content-Type": "application/json"}


def _decoded(content: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise Away(f"the answer of the Kubernetes API cannot be read: {error}") from error


def _failure(error: client.ApiException) -> Refused | Away:
    """What an answer without success means.

    Status 401 is about this program and not about what was asked, and may pass in a moment.
    """
    status = error.status
    if not status:
        return Away(f"the Kubernetes API does not answer: {error}")
    try:
        message = str(msgspec.json.decode(error.body or b"")["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        message = f"status {status}"
    if status in (429, 503):
        return Busy(f"the Kubernetes API is busy: {message}")
    if status == 401 or not 400 <= status < 500:
        return Away(f"the Kubernetes API fails with {status}: {message}")
    return Refused(status, message)


def _selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())
