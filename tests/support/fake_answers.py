"""How an API server selects, pages and refuses; tests/support/fake_cluster.py has the objects."""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter

from tests.support.recorded import Stored

Query = Mapping[str, str]
Requirement = Callable[[Mapping[str, str]], bool]

PLACE = re.compile(r"/(api/v1|apis/batch/v1)/namespaces/([^/]+)/([a-z]+)(?:/([^/]+)(/log)?)?")
COMMA = re.compile(r",(?![^(]*\))")  # not one of those between brackets
EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results."
)


class Denied(Exception):
    """An answer that is no success: its status, and the Status object."""

    def __init__(self, status: int, reason: str, message: str, **metadata: str) -> None:
        super().__init__(message)
        self.status = status
        said = {"status": "Failure", "message": message, "reason": reason, "code": status}
        self.content = json.dumps(
            {"kind": "Status", "apiVersion": "v1", "metadata": metadata, **said}
        ).encode()


@dataclass(frozen=True)
class Kind:
    """A kind of objects; `fields` are those that a fieldSelector may ask for."""

    group: str
    kind: str
    resource: str
    fields: frozenset[str]

    def whole(self, item: bytes) -> bytes:
        """An item of a list as an answer of its own."""
        return (
            b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.version.encode())
            + item[1:]
        )

    @property
    def version(self) -> str:
        return self.group.partition("/")[2]


NAMED = frozenset({"metadata.name"})
KINDS = {
    "jobs": Kind("apis/batch/v1", "Job", "jobs.batch", NAMED | {"status.successful"}),
    "pods": Kind("api/v1", "Pod", "pods", NAMED | {"status.phase", "spec.nodeName"}),
    "configmaps": Kind("api/v1", "ConfigMap", "configmaps", NAMED),
    "events": Kind("api/v1", "Event", "events", NAMED | {"reason", "type", "involvedObject.name"}),
}


def place(path: str, namespace: str) -> tuple[str, str, bool]:
    """Kind and name of a path, a list has no name, and whether it is a pod's log."""
    found = PLACE.fullmatch(path)
    known = (
        found and found[2] == namespace and found[3] in KINDS and KINDS[found[3]].group == found[1]
    )
    if found and known and (not found[5] or found[3] == "pods"):
        return found[3], found[4] or "", bool(found[5])
    raise Denied(404, "NotFound", "the server could not find the requested resource")


@dataclass(frozen=True)
class Token:
    """Where a list goes on: after this name, as things were at this revision, or as they are now (-1)."""

    revision: int
    start: str

    @classmethod
    def of(cls, text: str) -> Token | None:
        if not text:
            return None
        try:
            found = json.loads(base64.urlsafe_b64decode(text + "==="))
            return cls(int(found["rv"]), str(found["start"]).strip("/\0"))
        except (ValueError, KeyError, TypeError) as error:
            raise Denied(400, "BadRequest", f"continue key is not valid: {error}") from None

    @property
    def text(self) -> str:
        found = {"v": "meta.k8s.io/v1", "rv": self.revision, "start": f"/{self.start}\0"}
        return base64.urlsafe_b64encode(json.dumps(found).encode()).decode().rstrip("=")

    def expired(self) -> Denied:
        return Denied(410, "Expired", EXPIRED, **{"continue": Token(-1, self.start).text})


class Snapshot:
    """The objects of one kind by name, as they were at one revision."""

    def __init__(self, revision: int, found: Mapping[str, Stored]) -> None:
        self.revision = revision
        self.objects = [found[name] for name in sorted(found)]

    def page(self, kind: Kind, query: Query, start: str) -> bytes:
        """The next objects that the query selects, at most its `limit`; how many are left only without selectors."""
        limit = int(query.get("limit", 0)) or len(self.objects) + 1
        first = bisect_right(self.objects, start, key=lambda it: it.name)
        chosen = list(islice(self._selected(kind, query, first), limit + 1))
        metadata: dict[str, str | int] = {"resourceVersion": str(self.revision)}
        if len(chosen) > limit:
            metadata["continue"] = Token(self.revision, chosen[limit - 1].name).text
            if not query.get("labelSelector") and not query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(self.objects) - first - limit
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.version, "metadata": metadata}
        return (
            json.dumps(head).encode()[:-1]
            + b',"items":['
            + b",".join(it.body for it in chosen[:limit])
            + b"]}"
        )

    def _selected(self, kind: Kind, query: Query, first: int) -> Iterator[Stored]:
        found: Iterator[Stored] = islice(self.objects, first, None)
        for meets in [
            fielded(text, kind) for text in _requirements(query.get("fieldSelector", ""))
        ]:
            found = _meeting(found, meets, attrgetter("fields"))
        for meets in [labelled(text) for text in _requirements(query.get("labelSelector", ""))]:
            found = _meeting(found, meets, attrgetter("labels"))
        return found


def _meeting(
    found: Iterator[Stored], meets: Requirement, part: Callable[[Stored], Mapping[str, str]]
) -> Iterator[Stored]:
    return (it for it in found if meets(part(it)))


def _requirements(selector: str) -> list[str]:
    return [text.strip() for text in COMMA.split(selector) if text.strip()]


def labelled(text: str) -> Requirement:
    """One requirement of a labelSelector; `!=` and `notin` are met where the label is missing, too."""
    if found := re.fullmatch(r"(\S+)\s+(in|notin)\s*\((.*)\)", text):
        key, values, wanted = found[1], {it.strip() for it in found[3].split(",")}, found[2] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if found := re.fullmatch(r"([^=!\s]+)\s*(=|==|!=)\s*([^=!\s]*)", text):
        key, value, wanted = found[1], found[3], found[2] != "!="
        return lambda labels: (labels.get(key) == value) == wanted
    if found := re.fullmatch(r"(!?)\s*([^=!\s()]+)", text):
        key, wanted = found[2], not found[1]
        return lambda labels: (key in labels) == wanted
    raise Denied(400, "BadRequest", f"unable to parse requirement: {text}")


def fielded(text: str, kind: Kind) -> Requirement:
    """One requirement of a fieldSelector: `=` or `!=`, of few fields."""
    found = re.fullmatch(r"([^=!]+)(?:=|==|!=)([^=!]*)", text)
    if found is None:
        raise Denied(400, "BadRequest", f"invalid selector: '{text}'; can't understand '{text}'")
    if found[1] not in kind.fields:
        raise Denied(400, "BadRequest", f"field label not supported: {found[1]}")
    return labelled(text)
