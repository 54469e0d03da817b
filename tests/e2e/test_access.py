"""A release with a login: who gets in, what each part may do and reach, and where secrets show."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
import yaml

from tests.e2e.cluster import CommandFailed, Namespace, Release
from tests.e2e.conftest import ONE_EACH
from tests.e2e.leaks import answers, refusals, said_by, shown, state
from tests.e2e.login import PASSWORD, Login, answer, basic, new_login, secret
from tests.e2e.network import CLOSED, LISTEN, outside, reached, reached_by_bash, targets_of
from tests.e2e.pods import IMAGE, LOOK, looks_of, python_pod, seen
from tests.e2e.waiters import Object

pytestmark = pytest.mark.cluster

METADATA = "169.254.169.254:80"  # of clouds: whoever reaches it has the rights of the node
# Both have characters that URLs and base64 write differently.
DATABASE = {
    "DB_USER": "stock_backtest",
    "DB_PASSWORD": "of the/user:p@ss+w%rd~0a?>=",
    "MYSQL_ROOT_PASSWORD": "root~has/an+other:p@ss w%rd",
}
# A run that no request can ask for: its worker has no such rule.
OF_OTHER_RULES = """
import json, sys, uuid
from scripts.config import load_config
from service.store.database import connect
from service.store.requests import RequestStore
store = RequestStore(connect(load_config()))
known, run_id = store.get(sys.argv[1]), str(uuid.uuid4())
request = json.dumps({**json.loads(known.request), "run_id": run_id, "rule_id": "NOTHING"})
same = {name: getattr(known, name) for name in ("ticker", "rule_id", "prices_fingerprint")}
assert store.add({**same, "run_id": run_id, "request": request, "rules_digest": "0" * 64})
print(run_id)
"""


@pytest.fixture(scope="module")
def login() -> Login:
    return new_login()


@pytest.fixture(scope="module")
def release(namespace: Namespace, helm_release: Callable[..., Release], login: Login) -> Release:
    namespace.apply(secret("login", login.keys), secret("database", DATABASE))
    keys = {"tokens": "AUTH_TOKENS", "testToken": "token"}
    auth = {"mode": "basic", "existingSecret": "login", "secretKeys": keys}
    database = {"auth": {"existingSecret": "database"}}
    return helm_release(auth=auth, mysql=database, config={"logLevel": "DEBUG"}, **ONE_EACH)


@pytest.fixture(scope="module")
def runs(release: Release, login: Login) -> list[str]:
    """A run that completed and one that failed."""
    with release.web(token=login.token) as web:
        completed = str(web.completed()["run_id"])
        failed = release.namespace.python(
            next(iter(release.pods("web"))), OF_OTHER_RULES, completed
        ).strip()
        assert web.wait(failed)["reason"] == "RulesMismatch"
    return [completed, failed]


@pytest.fixture(scope="module")
def free(release: Release, new_namespace: Callable[..., Namespace]) -> Namespace:
    """Another namespace, where a pod may be anything."""
    namespace = new_namespace("-free")
    namespace.kubectl("label", "namespace", namespace.name, "pod-security.kubernetes.io/enforce-")
    return namespace


def test_who_logs_in_gets_in_and_nobody_else(release: Release, login: Login) -> None:
    closed = ("/", "/runs", "/metrics", "/openapi.json")
    right = [basic("alice", PASSWORD), f"Bearer {login.token}"]
    wrong = [
        basic("alice", PASSWORD[:-1]),
        basic("bob", PASSWORD),
        f"Bearer {login.token[:-1]}",
        f"Bearer {PASSWORD}",
    ]
    with release.web() as web:
        assert [answer(web, path)[0] for path in ("/health", "/ready")] == [200, 200]
        assert [answer(web, path)[0] for path in closed] == [401] * 4
        assert [
            answer(web, path, authorization)[0] for path in closed for authorization in right
        ] == [200] * 8
        assert [answer(web, "/runs", authorization)[0] for authorization in wrong] == [401] * 4


@pytest.fixture(scope="module")
def tested(release: Release) -> str:
    """The output of `helm test`, with the log of its pod, which is gone afterwards."""
    return release.helm("test", release.name, "--logs")[0]


def test_helm_test_logs_in_and_performs_a_backtest(tested: str) -> None:
    assert "completed with the numbers of the release" in tested


def test_no_secret_shows_but_in_its_secret(
    release: Release, login: Login, runs: list[str], tested: str
) -> None:
    said = {
        **said_by(release),
        **answers(release, login, runs),
        **refusals(release),
        "helm test": tested,
    }
    texts = {**state(release.namespace), **said}
    seen_at = {place for run_id in runs for place in shown(texts, run_id)}
    for kind in (
        "Job/",
        "Pod/",
        "Event/",
        "kubectl describe",
        "log of bt-",
        "/runs",
        "/result/",
        "/status/",
    ):
        assert any(place.startswith(kind) for place in seen_at), (
            f"not even the runs are found in {kind}"
        )
    assert re.search(
        r"Access denied for user 'somebody'.*using password: YES", texts["DB_USER=somebody"]
    )
    assert "\nNOTES:\n" in texts["helm get all"]
    assert "--execute=SELECT SLEEP(2)" in texts["processes of bt-mysql-0"], "a client was at work"
    database = {
        name: shown(texts, DATABASE[name]) for name in ("DB_PASSWORD", "MYSQL_ROOT_PASSWORD")
    }
    assert database == {key: {"Secret/database"} for key in database}
    logins = {name: shown(texts, text) for name, text in login.secrets.items()}
    assert logins == {**{key: {"Secret/login"} for key in logins}, "her password": set()}


def test_a_secret_that_shows_is_found(release: Release) -> None:
    """So the test above can fail."""
    password = DATABASE["DB_PASSWORD"]
    planted = {
        "plain": f"password={password}",
        "in-a-url": f"mysql+pymysql://user:{quote(password, safe='')}@host/database",
        "in-base64": b64encode(f"user:{password}\n".encode()).decode(),
    }
    for name, text in planted.items():
        places = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name},
            "data": {"text": text},
        }
        release.namespace.apply(places)
    assert shown(state(release.namespace), password) == {
        "Secret/database",
        "kubectl describe",
        *(f"ConfigMap/{name}" for name in planted),
    }
    release.namespace.kubectl("delete", "configmap", *planted)


def one_pod(release: Release, part: str) -> Object:
    return release.namespace.objects("pods", **release.labels(part))[0]


def confined(user: int = 10001, token: str = "no") -> dict[str, str]:
    """What LOOK prints in a container without any right."""
    none = "0" * 16
    return {
        "Uid": str(user),
        "CapEff": none,
        "CapBnd": none,
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "root": "Read-only file system",
        "token": token,
    }


def test_the_first_process_of_each_part_is_confined(release: Release, runs: list[str]) -> None:
    expected = {"web": confined(), "controller": confined(token="yes"), "mysql": confined(user=999)}
    for part, good in expected.items():
        for pod in release.pods(part):
            assert seen(release.namespace.kubectl("exec", pod, "--", "sh", "-c", LOOK)) == good, pod


def test_containers_that_end_are_confined(release: Release, runs: list[str]) -> None:
    hooks = yaml.safe_load_all(release.helm("get", "hooks", release.name)[0])
    (test,) = (hook for hook in hooks if hook and hook["kind"] == "Pod")
    looks = looks_of(release.namespace, [test, one_pod(release, "worker"), one_pod(release, "web")])
    assert looks == {name: [confined()] for name in ("test", "worker", "migrate", "samples", "web")}


def test_a_pod_without_confinement_is_refused_and_elsewhere_seen(
    release: Release, free: Namespace
) -> None:
    container = {
        "name": "root",
        "image": IMAGE,
        "command": ["sleep", "3600"],
        "securityContext": {"runAsUser": 0},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root"},
        "spec": {"containers": [container]},
    }
    with pytest.raises(CommandFailed, match='violates PodSecurity "restricted'):
        release.namespace.apply(pod)
    look = seen(free.kubectl("exec", free.start(pod), "--", "sh", "-c", LOOK))
    assert {name for name, value in confined().items() if look[name] != value} == set(confined())


def rights(release: Release, account: str) -> set[tuple[str, ...]]:
    """Resources, URLs, names and verbs of `kubectl auth can-i --list`."""
    user = f"system:serviceaccount:{release.namespace.name}:{account}"
    table = release.namespace.kubectl("auth", "can-i", "--list", "--as", user).splitlines()
    starts = [
        table[0].index(title)
        for title in ("Resources", "Non-Resource URLs", "Resource Names", "Verbs")
    ]
    return {
        tuple(
            line[start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)
        )
        for line in table[1:]
    }


def test_each_account_may_do_exactly_what_its_program_calls(release: Release) -> None:
    everybody = rights(release, "somebody-else")
    template = release.namespace.object("deployment", release.name_of("deployment", "controller"))
    accounts = {
        part: release.name_of("serviceaccount", part)
        for part in ("web", "controller", "worker", "mysql")
    }
    assert template["spec"]["template"]["spec"]["serviceAccountName"] == accounts["controller"]
    for part in ("web", "worker", "mysql"):
        assert rights(release, accounts[part]) == everybody, part
    assert rights(release, accounts["controller"]) - everybody == {
        ("jobs.batch", "[]", "[]", "[create delete get list]"),
        ("pods", "[]", "[]", "[delete list]"),
        ("pods/log", "[]", "[]", "[get]"),
        ("events", "[]", "[]", "[list]"),
        ("configmaps", "[]", f"[{release.name_of('configmap', 'worker')}]", "[get]"),
    }


def worker_labels(release: Release) -> Object:
    """The labels that all pods of workers have."""
    template = release.namespace.object("configmap", release.name_of("configmap", "worker"))
    labels: Object = yaml.safe_load(template["data"]["job.yaml"])["spec"]["template"]["metadata"][
        "labels"
    ]
    return labels


@pytest.fixture(scope="module")
def answered(release: Release, free: Namespace) -> dict[str, dict[str, str]]:
    """The answers of all targets to each part, to strangers, and to pods with workers' labels.

    The vendor is a pod of another namespace at port 443.
    """
    namespace = release.namespace
    like_a_worker = python_pod("like-a-worker", LISTEN, labels=worker_labels(release))
    fetching = {**worker_labels(release), "stock-backtest/kind": "prices"}
    like_a_fetch = python_pod("like-a-fetch", labels=fetching)
    listening = python_pod("vendor", LISTEN.replace("8000", "443"))
    any_port = {"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}
    listening["spec"]["securityContext"] = {"sysctls": [any_port]}
    vendor = free.start(listening)
    parts = {part: next(iter(release.pods(part))) for part in ("web", "controller", "mysql")}
    own = {
        **parts,
        "worker": namespace.start(like_a_worker),
        "fetch": namespace.start(like_a_fetch),
        "stranger": namespace.start(python_pod("stranger")),
    }
    askers = {
        "elsewhere": (free, free.start(like_a_worker)),
        **{part: (namespace, pod) for part, pod in own.items()},
    }
    with outside(namespace) as listener, ThreadPoolExecutor() as pool:
        targets = {
            **targets_of(release, own["worker"]),
            "vendor": f"{free.object('pod', vendor)['status']['podIP']}:443",
            "outside": listener,
            "metadata": METADATA,
        }
        futures = {}
        for part, (of_pod, pod) in askers.items():
            connect = reached_by_bash if part == "mysql" else reached
            futures[part] = pool.submit(connect, of_pod, pod, targets)
        elsewhere, pod = askers["elsewhere"]
        futures["bash elsewhere"] = pool.submit(reached_by_bash, elsewhere, pod, targets)
        return {part: future.result() for part, future in futures.items()}


STRANGERS_REACH = {"web", "controller", "api", "outside", "vendor"}


@pytest.mark.parametrize(
    ("part", "open_to"),
    {
        "worker": {"mysql"},
        "fetch": {"mysql", "vendor"},
        "web": {"mysql"},
        "controller": {"mysql", "api", "vendor"},
        "mysql": set(),
        "stranger": STRANGERS_REACH,
        "elsewhere": STRANGERS_REACH,
        "bash elsewhere": STRANGERS_REACH,
    }.items(),
)
def test_who_reaches_whom(
    answered: dict[str, dict[str, str]], part: str, open_to: set[str]
) -> None:
    """Policies decide it, not the network: a stranger reaches all but the database and workers.

    Each part reaches itself. Not every network has something at the clouds' address, so a stranger
    may reach it or not.
    """
    uncertain = {part} | ({"metadata"} if open_to is STRANGERS_REACH else set())
    answers = {
        target: answer for target, answer in answered[part].items() if target not in uncertain
    }
    assert answers == {target: "open" if target in open_to else CLOSED for target in answers}
