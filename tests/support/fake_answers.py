"""How an API server selects, pages and refuses; tests/support/fake_cluster.py has the objects."""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from tests.support.recorded import Stored

Query = Mapping[str, str]
# Whether labels, or fields, are as a selector requires
Requirement = Callable[[Mapping[str, str]], bool]

PATH = re.compile(
    r"/(?P<group>api/v1|apis/batch/v1)/namespaces/(?P<namespace>[^/]+)"
    r"/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+)(?P<log>/log)?)?"
)
# A comma that is not between brackets
COMMA = re.compile(r",(?![^(]*\))")
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. "
    "You can start a new list without the continue parameter, or use the continue token in this "
    "response to retrieve the remainder of the results."
)


class Denied(Exception):
    """An answer that is no success: its HTTP status, and its content, a Status object."""

    def __init__(self, status: int, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.status = status
        document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": metadata,
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": status,
        }
        self.content = json.dumps(document).encode()


@dataclass(frozen=True)
class Kind:
    """A kind of objects; `fields` are those that a fieldSelector may name."""

    group: str
    kind: str
    resource: str
    fields: frozenset[str]

    @property
    def version(self) -> str:
        return self.group.partition("/")[2]

    def whole(self, item: bytes) -> bytes:
        """An item of a list as an answer of its own, which names its kind."""
        head = json.dumps({"kind": self.kind, "apiVersion": self.version})
        return head.removesuffix("}").encode() + b"," + item[1:]


NAMED = frozenset({"metadata.name"})
KINDS = {
    "jobs": Kind("apis/batch/v1", "Job", "jobs.batch", NAMED | {"status.successful"}),
    "pods": Kind("api/v1", "Pod", "pods", NAMED | {"status.phase", "spec.nodeName"}),
    "configmaps": Kind("api/v1", "ConfigMap", "configmaps", NAMED),
    "events": Kind("api/v1", "Event", "events", NAMED | {"reason", "type", "involvedObject.name"}),
}


def place(path: str, namespace: str) -> tuple[str, str, bool]:
    """Kind and name in a path, and whether it is that of a pod's log; the name of a list is empty.

    Raises Denied where the API server has no such path.
    """
    parts = PATH.fullmatch(path)
    if parts is None or not _is_known(parts, namespace):
        raise Denied(404, "NotFound", "the server could not find the requested resource")
    return parts["resource"], parts["name"] or "", bool(parts["log"])


def _is_known(parts: re.Match[str], namespace: str) -> bool:
    kind = KINDS.get(parts["resource"])
    if kind is None or kind.group != parts["group"] or parts["namespace"] != namespace:
        return False
    return not parts["log"] or parts["resource"] == "pods"


@dataclass(frozen=True)
class Token:
    """Where a list goes on: after the name `start`, as things were at this revision.

    At the revision -1 it goes on with things as they are now.
    """

    revision: int
    start: str

    @classmethod
    def of(cls, text: str) -> Token | None:
        """The token that a client sends back; raises Denied."""
        if not text:
            return None
        try:
            document = json.loads(base64.urlsafe_b64decode(text + "==="))
            return cls(int(document["rv"]), str(document["start"]).strip("/\0"))
        except (ValueError, KeyError, TypeError) as error:
            raise Denied(400, "BadRequest", f"continue key is not valid: {error}") from None

    @property
    def text(self) -> str:
        document = {"v": "meta.k8s.io/v1", "rv": self.revision, "start": f"/{self.start}\0"}
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")

    def expired(self) -> Denied:
        """The refusal to go on, with a token to go on with things as they are now."""
        return Denied(410, "Expired", EXPIRED, **{"continue": Token(-1, self.start).text})


class Snapshot:
    """The objects of one kind by name, as they were at one revision."""

    def __init__(self, revision: int, objects: Mapping[str, Stored]) -> None:
        self.revision = revision
        self.objects = [objects[name] for name in sorted(objects)]

    def page(self, kind: Kind, query: Query, start: str) -> bytes:
        """The next objects after `start` that the query selects, at most its `limit`.

        How many are left is only said without selectors, as an API server does it.
        """
        limit = int(query.get("limit", 0)) or len(self.objects) + 1
        first = bisect_right(self.objects, start, key=lambda stored: stored.name)
        selected = list(islice(self._selected(kind, query, first), limit + 1))
        metadata: dict[str, str | int] = {"resourceVersion": str(self.revision)}
        if len(selected) > limit:
            metadata["continue"] = Token(self.revision, selected[limit - 1].name).text
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(self.objects) - first - limit
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.version, "metadata": metadata}
        items = b",".join(stored.body for stored in selected[:limit])
        return json.dumps(head).removesuffix("}").encode() + b',"items":[' + items + b"]}"

    def _selected(self, kind: Kind, query: Query, first: int) -> Iterator[Stored]:
        field_requirements = [
            fielded(text, kind) for text in _requirements(query.get("fieldSelector", ""))
        ]
        label_requirements = [
            labelled(text) for text in _requirements(query.get("labelSelector", ""))
        ]
        for stored in islice(self.objects, first, None):
            if not all(is_met(stored.fields) for is_met in field_requirements):
                continue
            if all(is_met(stored.labels) for is_met in label_requirements):
                yield stored


def _requirements(selector: str) -> list[str]:
    return [text.strip() for text in COMMA.split(selector) if text.strip()]


def labelled(text: str) -> Requirement:
    """One requirement of a labelSelector; `!=` and `notin` are met where the label is missing, too.

    Raises Denied.
    """
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s*\((.*)\)", text):
        values = {value.strip() for value in match[3].split(",")}
        return _requirement(match[1], values, is_wanted=match[2] == "in")
    if match := re.fullmatch(r"([^=!\s]+)\s*(=|==|!=)\s*([^=!\s]*)", text):
        return _requirement(match[1], {match[3]}, is_wanted=match[2] != "!=")
    if match := re.fullmatch(r"(!?)\s*([^=!\s()]+)", text):
        name = match[2]
        is_wanted = not match[1]
        return lambda labels: (name in labels) == is_wanted
    raise Denied(400, "BadRequest", f"unable to parse requirement: {text}")


def _requirement(name: str, values: set[str], is_wanted: bool) -> Requirement:
    return lambda labels: (labels.get(name) in values) == is_wanted


def fielded(text: str, kind: Kind) -> Requirement:
    """One requirement of a fieldSelector: `=` or `!=`, of few fields; raises Denied."""
    match = re.fullmatch(r"([^=!]+)(?:=|==|!=)([^=!]*)", text)
    if match is None:
        raise Denied(400, "BadRequest", f"invalid selector: '{text}'; can't understand '{text}'")
    if match[1] not in kind.fields:
        raise Denied(400, "BadRequest", f"field label not supported: {match[1]}")
    return labelled(text)
