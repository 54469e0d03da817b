"""What cannot work is refused before anything is installed: where, and what to do."""

from __future__ import annotations

import pytest

from tests.chart.cluster_schema import faults
from tests.chart.rendering import (
    EXTERNAL,
    SECRET,
    Object,
    at,
    filled_job,
    laid_over,
    objects,
    refusal,
)
from tests.chart.values_file import nodes


def on_secret(path: str, value: object) -> Object:
    return laid_over(SECRET, at(path, value))


def job(value: Object) -> Object:
    return on_secret("worker.jobOverrides", value)


def login(mode: str = "basic", **auth: object) -> Object:
    return on_secret("auth", {"mode": mode, "existingSecret": "login", **auth})


METERED = {"serviceMonitor": {"enabled": True}}
NAMED = at("serviceMonitor.tokenSecret.name", "prometheus")
TOKENLESS = (
    "serviceMonitor.enabled with a login needs a token: its line at the key auth.secretKeys.tokens"
)
BOTH = {
    "ingress": {"enabled": True, "hosts": ["a.org"]},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]},
}
POD = "spec.template.spec"
BROKEN = "worker.jobOverrides breaks the Job that runs are made from: "
TWICE = ", which the chart or another entry sets too: a container may have each name once"

REFUSED = {
    "two ways in": (laid_over(SECRET, BOTH), "ingress.enabled and httpRoute.enabled are both true"),
    "ingress without host": (
        on_secret("ingress.enabled", True),
        "--set 'ingress.hosts={backtests.example.org}'",
    ),
    "route without gateway": (
        on_secret("httpRoute.enabled", True),
        "--set 'httpRoute.parentRefs[0].name=my-gateway'",
    ),
    "no database": (
        at("mysql.enabled", False),
        "mysql.enabled is false and externalDatabase.host is empty",
    ),
    "two databases": (
        on_secret("externalDatabase.host", "db"),
        "externalDatabase.host is set and mysql.enabled is true",
    ),
    "verified by nobody": (
        laid_over(EXTERNAL, at("externalDatabase.tls.mode", "verify")),
        "externalDatabase.tls.mode=verify needs externalDatabase.tls.caSecret",
    ),
    "port without type": (
        on_secret("web.service.nodePort", 30080),
        "web.service.nodePort needs web.service.type=NodePort",
    ),
    "fewest above most": (
        on_secret("web.autoscaling", {"minReplicas": 7}),
        "web.autoscaling.minReplicas is above maxReplicas",
    ),
    "nothing to download": (
        on_secret("prices.refresh.enabled", True),
        "--set 'prices.tickers={NFLX}'",
    ),
    "a character in a Job": (
        job(at("metadata.annotations", {"a": "\x99"})),
        "a value holds a character that YAML cannot",
    ),
    "a character in a pod": (
        on_secret("web.podAnnotations", {"a": "\x7f"}),
        "a value holds a character that YAML cannot",
    ),
    "a character in MySQL": (
        on_secret("mysql.podAnnotations", {"a": "\ufffe"}),
        "such as the control characters U+007F",
    ),
    "a character behind an alert": (
        laid_over(
            job(at("metadata.annotations", {"a": "\x99"})), {"prometheusRule": {"enabled": True}}
        ),
        "a value holds a character that YAML cannot",
    ),
    "too many workers": (
        on_secret("worker.maxActive", 35),
        "70 workers may need 164 connections, mysql.config.maxConnections is 151: "
        "raise it, or lower worker.maxActive, "
        "worker.sweepParallelism or web.workers",
    ),
    "too many web processes": (
        on_secret("web", {"workers": 8, "threads": 8}),
        "20 workers may need 198 connections",
    ),
    "a Secret that nobody reads": (
        on_secret("auth.existingSecret", "login"),
        "auth.mode is none, so anybody would get in",
    ),
    "a login without keys": (
        login(secretKeys={"users": ""}),
        "auth.mode=basic lets nobody in: name a key of the Secret",
    ),
    "a proxy that anybody can play": (
        login(mode="proxy-header", secretKeys={"proxySecret": "", "tokens": "t"}),
        "auth.mode=proxy-header needs auth.secretKeys.proxySecret",
    ),
    "a token without its line": (
        login(secretKeys={"testToken": "token"}),
        "auth.secretKeys.testToken needs auth.secretKeys.tokens",
    ),
    "metrics without a token": (laid_over(login(secretKeys={"tokens": "t"}), METERED), TOKENLESS),
    "metrics without a token's line": (laid_over(login(), laid_over(METERED, NAMED)), TOKENLESS),
    "too many web pods": (
        on_secret("web.autoscaling", {"enabled": True, "maxReplicas": 25}),
        "20 workers may need 179 connections",
    ),
    "a variable of the chart": (
        on_secret("web.extraEnv", [{"name": "WEB_THREADS", "value": "9"}]),
        f"extraEnv sets WEB_THREADS{TWICE}",
    ),
    "the worker's image": (
        on_secret("worker.extraEnv", [{"name": "IMAGE", "value": "x"}]),
        f"extraEnv sets IMAGE{TWICE}",
    ),
    "a variable twice": (
        on_secret(
            "controller.extraEnv", [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
        ),
        f"extraEnv sets A{TWICE}",
    ),
    "a Job without worker": (
        job(at(f"{POD}.containers", [{"name": "main"}])),
        f"{BROKEN}no container is named worker, only main",
    ),
    "a Job without containers": (
        job(at(f"{POD}.containers", [])),
        f"{BROKEN}no container is named worker",
    ),
    "a Job that restarts": (
        job(at(f"{POD}.restartPolicy", "OnFailure")),
        f"{BROKEN}restartPolicy must be Never",
    ),
    "a Job gone at once": (
        job(at("spec.ttlSecondsAfterFinished", 60)),
        f"{BROKEN}ttlSecondsAfterFinished must be at least 600",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused(name: str) -> None:
    values, text = REFUSED[name]
    why = refusal(values)
    assert why.startswith("execution error at (")
    assert text in why


ODD: list[object] = [None, "x", 5, -1, [], {}]
OVERRIDES = [path for path in nodes() if path.startswith("worker.jobOverrides.")]


@pytest.mark.parametrize("path", OVERRIDES)
def test_an_odd_override_is_refused_by_name_or_makes_a_job(path: str) -> None:
    for value in ODD:
        values = on_secret(path, value)
        why = refusal(values)
        if not why:
            assert faults([*objects(values), filled_job(objects(values))]) == []
        assert why == "" or "at '/worker/jobOverrides" in why or BROKEN in why, (value, why)


@pytest.mark.parametrize("path", ["mysql.auth.password", "mysql.auth.rootPassword"])
def test_without_a_secret_the_command_that_makes_one_is_said(path: str) -> None:
    for values in ({}, at(path, "only-one")):
        why = refusal(values)
        assert "kubectl create secret generic bt-mysql-auth --namespace stocks \\\n" in why
        for key in ("DB_USER=stock_backtest", "DB_PASSWORD=", "MYSQL_ROOT_PASSWORD="):
            assert f"--from-literal={key}" in why
        assert "--set mysql.auth.existingSecret=bt-mysql-auth" in why


def test_without_the_secret_of_an_external_database_too() -> None:
    keys = {
        "secretKeys": {"user": "login", "password": "pass"},
        "existingSecret": "",
        "username": "quant",
    }
    why = refusal(laid_over(EXTERNAL, {"externalDatabase": keys}))
    assert "kubectl create secret generic bt-stock-backtest-auth --namespace stocks \\\n" in why
    assert "--from-literal=login=quant --from-literal=pass=..." in why
    assert "--set externalDatabase.existingSecret=bt-stock-backtest-auth" in why


LOGIN_COMMANDS = {
    "basic": ("python -m scripts.make_login alice >users", "--from-file=AUTH_USERS=users"),
    "proxy-header": ('--from-literal=AUTH_PROXY_SECRET="$(openssl rand -hex 16)"',),
}


@pytest.mark.parametrize("mode", LOGIN_COMMANDS)
def test_without_the_secret_of_a_login_too(mode: str) -> None:
    why = refusal(on_secret("auth.mode", mode))
    assert "kubectl create secret generic bt-stock-backtest-login --namespace stocks" in why
    assert all(command in why for command in LOGIN_COMMANDS[mode])
    assert "--set auth.existingSecret=bt-stock-backtest-login" in why


@pytest.mark.parametrize(
    "values",
    [
        login(secretKeys={"users": "", "tokens": "t"}),
        login(mode="proxy-header", secretKeys={"users": ""}),
        laid_over(login(secretKeys={"tokens": "t"}), laid_over(METERED, NAMED)),
        laid_over(SECRET, METERED),
        on_secret("worker.maxActive", 31),
        job(at(f"{POD}.containers", [{"name": "worker", "image": "mine:1"}])),
        job(at("spec.ttlSecondsAfterFinished", 600)),
        laid_over(EXTERNAL, at("worker.maxActive", 5000)),
        on_secret("web.service", {"type": "NodePort", "nodePort": 30080}),
    ],
)
def test_what_is_just_right_is_taken(values: Object) -> None:
    assert refusal(values) == ""
