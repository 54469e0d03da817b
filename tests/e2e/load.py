"""A client that asks for six runs at once, then for one every six seconds, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.cluster import Release
from tests.e2e.pods import python_pod
from tests.support.requests import REQUEST

# Asks for the rules in turn, each under a run_id of its own, and sends a request again until it is
# answered. After the stop it asks for three more: those are for the newest pods to answer.
SUBMIT = """
import json, os, sys, time, urllib.error, urllib.request, uuid
address, request, rules = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3:]
accepted, repeated, rounds_left = [], 0, 4
def ask(body):
    global repeated
    data = json.dumps(body).encode()
    asked = urllib.request.Request(address, data, {"Content-Type": "application/json"})
    while True:
        try:
            with urllib.request.urlopen(asked, timeout=5) as answer:
                json.load(answer)
                return
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                raise
            repeated += 1
            time.sleep(0.5)
while rounds_left:
    rounds_left -= os.path.exists("/tmp/stop")
    rule_id = rules[len(accepted) % len(rules)]
    body = {**request, "rule_id": rule_id, "run_id": str(uuid.uuid4())}
    ask(body)
    accepted.append([body["run_id"], rule_id])
    time.sleep(6 if len(accepted) > 5 else 0)
print(json.dumps([accepted, repeated]))
"""


@dataclass(frozen=True)
class Accepted:
    """A run that a web has accepted; `by_newest_pods`: one of those that were there at the end."""

    run_id: str
    rule_id: str
    by_newest_pods: bool


@contextmanager
def submitting(release: Release, *rules: str) -> Iterator[list[Accepted]]:
    """A pod asks for runs of the rules throughout the body, each with a Job of its own.

    After the body the list has them all.
    """
    namespace = release.namespace
    accepted: list[Accepted] = []
    address = f"http://{release.name_of('service', 'web')}:5000/backtest?force=true"
    pod = namespace.start(python_pod("load", SUBMIT, address, json.dumps(REQUEST), *rules))
    yield accepted
    namespace.kubectl("exec", pod, "--", "touch", "/tmp/stop")
    namespace.kubectl(
        "wait", f"pod/{pod}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"
    )
    runs, repeated = json.loads(namespace.kubectl("logs", pod))
    newest_logs = "".join(
        namespace.kubectl("logs", name, "--container", "web") for name in release.pods("web")
    )
    accepted += [Accepted(run_id, rule_id, run_id in newest_logs) for run_id, rule_id in runs]
    print(f"{len(accepted)} runs accepted, {repeated} requests sent again")
    namespace.kubectl("delete", "pod", pod, "--now")
