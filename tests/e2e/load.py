"""Somebody who asks for six runs at once and then for one every six seconds, whatever happens to the web meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.conftest import REQUEST
from tests.e2e.cluster import Release
from tests.e2e.pods import python_pod

# Asks for the rules in turn, each under a run_id of its own, and for that one again until there is an answer.
SUBMIT = """
import json, os, sys, time, urllib.error, urllib.request, uuid
address, request, rules = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
accepted, again, more = [], 0, 4  # after the stop: those are the newest pods' to answer
def answer(body):
    global again
    asked = urllib.request.Request(address, json.dumps(body).encode(), {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=5) as got:
                json.load(got)
                return "Cache-Control" in got.headers  # as of 0.2.0
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise
            again += 1
            time.sleep(0.5)
while more:
    more -= os.path.exists("/tmp/stop")
    rule_id = rules[len(accepted) % len(rules)]
    body = {**request, "rule_id": rule_id, "run_id": str(uuid.uuid4())}
    accepted.append([body["run_id"], rule_id, answer(body)])
    time.sleep(6 if len(accepted) > 5 else 0)
print(json.dumps([accepted, again]))
"""


@dataclass(frozen=True)
class Accepted:
    """A run that a web has answered for; `newer` when that was a web of this release."""

    run_id: str
    rule_id: str
    newer: bool


@contextmanager
def submitting(release: Release, *rules: str) -> Iterator[list[Accepted]]:
    """A pod asks for runs of the rules throughout the body, each with a Job of its own; then the list has them."""
    namespace, accepted = release.namespace, list[Accepted]()
    address = f"http://{release.name_of('service', 'web')}:5000/backtest?force=true"
    pod = namespace.start(python_pod("load", SUBMIT, address, json.dumps(REQUEST), *rules))
    yield accepted
    namespace.kubectl("exec", pod, "--", "touch", "/tmp/stop")
    namespace.kubectl(
        "wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"
    )
    runs, again = json.loads(namespace.kubectl("logs", pod))
    accepted += [Accepted(*run) for run in runs]
    print(f"{len(accepted)} runs accepted, {again} requests sent again")
    namespace.kubectl("delete", "pod", pod, "--now")
