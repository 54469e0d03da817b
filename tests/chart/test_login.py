"""A login: only the web has its files, and `helm test` and Prometheus log in or say why not."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.config import Config, InvalidConfig, load_config
from service.web.middleware.auth import login_of
from tests.chart.rendering import (
    CHART,
    SECRET,
    Object,
    at,
    containers,
    laid_over,
    object_of,
    objects,
    pods,
    values_of,
)

GIVEN = {
    manifest["metadata"]["name"]: manifest["stringData"]
    for manifest in yaml.safe_load_all((Path(__file__).parent / "chart-testing.yaml").read_text())
    if manifest["kind"] == "Secret"
}
BASIC, PROXY = (values_of(CHART / "ci" / f"auth-{mode}-values.yaml") for mode in ("basic", "proxy"))
LOGINS = {
    "basic": BASIC,
    "users only": laid_over(SECRET, {"auth": {"mode": "basic", "existingSecret": "login"}}),
    "tokens only": laid_over(
        SECRET,
        {
            "auth": {
                "mode": "basic",
                "existingSecret": "login",
                "secretKeys": {"users": "", "tokens": "AUTH_TOKENS"},
            }
        },
    ),
    "proxy": PROXY,
    "proxy and tokens": laid_over(PROXY, at("auth.secretKeys.tokens", "AUTH_TOKENS")),
}


def web_of(manifests: list[Object]) -> tuple[Object, Object]:
    spec = object_of(manifests, "Deployment", "-web")["spec"]["template"]["spec"]
    (web,) = spec["containers"]
    return spec, web


def mounted(spec: Object, container: Object) -> dict[str, str]:
    """The content of each file, by path, that the Secret `login` puts into a container.

    Raises KeyError for a key that the Secret lacks.
    """
    paths = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    volumes = [
        volume
        for volume in spec["volumes"]
        if volume.get("secret", {}).get("secretName") == "login"
    ]
    return {
        f"{paths[volume['name']]}/{item['path']}": GIVEN["login"][item["key"]]
        for volume in volumes
        if volume["name"] in paths
        for item in volume["secret"]["items"]
    }


def config_of_web(values: Object, folder: Path) -> Config:
    """The settings as the web reads them, with its files in a folder of this machine."""
    manifests = objects(values)
    spec, web = web_of(manifests)
    settings = {
        **object_of(manifests, "ConfigMap", "-config")["data"],
        "DB_USER": "quant",
        "DB_PASSWORD": "from-the-file",
    }
    settings |= {
        variable["name"]: variable["value"] for variable in web["env"] if "value" in variable
    }
    for path, content in mounted(spec, web).items():
        (folder / Path(path).name).write_text(content)
        settings = {
            name: str(folder / Path(path).name) if value == path else value
            for name, value in settings.items()
        }
    return load_config(settings)


@pytest.mark.parametrize("name", LOGINS)
def test_the_web_starts_with_its_login(name: str, tmp_path: Path) -> None:
    login = login_of(config_of_web(LOGINS[name], tmp_path))
    assert login.mode == LOGINS[name]["auth"]["mode"]
    assert set(login.users) == ({"alice"} if name in ("basic", "users only") else set())
    assert set(login.tokens) == (
        {"helm-test"} if name in ("basic", "tokens only", "proxy and tokens") else set()
    )
    if login.mode == "proxy-header":
        assert (login.proxy_header, login.proxy_secret) == (
            "X-Auth-Request-User",
            GIVEN["login"]["proxy"],
        )


def test_without_its_files_no_program_starts_with_that_mode() -> None:
    """So the mode is no part of the ConfigMap, which all of them read."""
    with pytest.raises(InvalidConfig):
        load_config({"AUTH_MODE": "basic"})
    assert [
        key
        for key in object_of(objects(BASIC), "ConfigMap", "-config")["data"]
        if key.startswith("AUTH")
    ] == []


@pytest.mark.parametrize("name", LOGINS)
def test_only_the_web_has_the_login(name: str) -> None:
    values = laid_over(LOGINS[name], {"prices": {"tickers": ["NFLX"]}})
    with_files = set()
    with_variables = set()
    for pod, template in pods(objects(values)):
        for container in containers(template["spec"]):
            if any(
                mount["mountPath"].startswith("/run/secrets/login")
                for mount in container.get("volumeMounts", [])
            ):
                with_files.add((pod, container["name"]))
                assert all(
                    m["readOnly"]
                    for m in container["volumeMounts"]
                    if m["mountPath"] == "/run/secrets/login"
                )
            if any(variable["name"].startswith("AUTH") for variable in container.get("env", [])):
                with_variables.add((pod, container["name"]))
    web = ("Deployment bt-stock-backtest-web", "web")
    test = {("Pod bt-stock-backtest-test", "test")} if name == "basic" else set()
    assert (with_variables, with_files) == ({web}, {web} | test)


def test_the_test_gets_the_token_and_nothing_else() -> None:
    spec = object_of(objects(BASIC), "Pod", "-test")["spec"]
    assert mounted(spec, spec["containers"][0]) == {"/run/secrets/login/token": "for-tests-only"}
    (line,) = GIVEN["login"]["AUTH_TOKENS"].splitlines()
    assert line == f"helm-test:{hashlib.sha256(b'for-tests-only').hexdigest()}"


def test_without_a_login_there_is_no_trace_of_it() -> None:
    assert "login" not in json.dumps([pod for name, pod in pods(objects()) if "-test" not in name])
    assert "AUTH" not in json.dumps([pod for name, pod in pods(objects())])


def test_a_file_that_is_named_is_mounted_without_exception() -> None:
    """A missing file keeps the new pods from starting, so that the old ones go on answering.

    With `optional` a web would start without a file that it was told to read.
    """
    assert "optional" not in json.dumps(objects(BASIC))


def test_prometheus_has_a_token_for_the_web_only() -> None:
    manifests = objects(BASIC)
    (web,) = object_of(manifests, "ServiceMonitor", "-web")["spec"]["endpoints"]
    (controller,) = object_of(manifests, "ServiceMonitor", "-controller")["spec"]["endpoints"]
    assert web["authorization"] == {
        "type": "Bearer",
        "credentials": {"name": "login", "key": "token"},
    }
    assert "authorization" not in controller


def test_the_number_of_processes_reaches_gunicorn() -> None:
    spec, web = web_of(objects(BASIC))
    variables = {variable["name"]: variable.get("value") for variable in web["env"]}
    assert (variables["WEB_WORKERS"], variables["WEB_THREADS"]) == ("2", "2")
    path = object_of(objects(BASIC), "ConfigMap", "-config")["data"]["METRICS_DIR"]
    (name,) = (mount["name"] for mount in web["volumeMounts"] if mount["mountPath"] == path)
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == name)
    assert volume["emptyDir"]["medium"] == "Memory"


def run_test(
    answers: dict[str, Any], mode: str, folder: Path, token: str = ""
) -> subprocess.CompletedProcess[str]:
    """Runs files/test.py with these answers, by path: an object, or the number of an HTTP error.

    Returns its exit code and output, and the requests that it made.
    """
    (folder / "token").write_text(token)
    text = (CHART / "files" / "test.py").read_text()
    text = text.replace("/run/secrets/login/token", str(folder / ("token" if token else "none")))
    fake = f"""
import io, json, urllib.error, urllib.request
answers = json.loads({json.dumps(answers)!r})
def urlopen(request, timeout):
    path = request.full_url.removeprefix("http://web")
    print("asked", path, request.get_header("Authorization"))
    answer = answers[path]
    if isinstance(answer, int):
        raise urllib.error.HTTPError(request.full_url, answer, "no", {{}}, None)
    return io.BytesIO(json.dumps(answer).encode())
urllib.request.urlopen = urlopen
"""
    command = [sys.executable, "-c", fake + text, "http://web", "the log", mode]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=dict(os.environ)
    )


DONE = {"status": "completed", "reason": None, "hint": None}
ALL_WELL = {
    "/tickers": {"tickers": [{"ticker": "GOOG"}]},
    "/backtest?force=true": {"run_id": "r"},
    "/status/r": DONE,
    "/result/r": {"total_return_pct": 162.94554248685, "num_trades": 34},
    "/ready": {"status": "ready"},
}


@pytest.mark.parametrize(
    ("mode", "token"), [("none", ""), ("basic", "secret"), ("proxy-header", "secret")]
)
def test_helm_test_makes_a_backtest(mode: str, token: str, tmp_path: Path) -> None:
    done = run_test(ALL_WELL, mode, tmp_path, token)
    assert done.returncode == 0, done.stderr
    paths = re.findall("asked (.*)", done.stdout)
    assert {line.partition(" ")[2] for line in paths} == {f"Bearer {token}" if token else "None"}
    assert "run r completed with the numbers of the release" in done.stdout


def test_helm_test_without_a_token_sees_that_it_is_kept_out(tmp_path: Path) -> None:
    done = run_test({**ALL_WELL, "/tickers": 401}, "basic", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        "without a login nobody gets in. Skipped: a backtest needs auth.secretKeys.testToken"
        in done.stdout
    )


@pytest.mark.parametrize(
    ("answers", "mode", "token", "why"),
    [
        ({}, "basic", "", "FAILED: auth.mode is basic, and a request without a login was answered"),
        ({"/tickers": 500}, "basic", "", "FAILED: HTTP Error 500"),
        ({"/ready": 503}, "basic", "", "FAILED: HTTP Error 503"),
        ({"/tickers": 401}, "basic", "wrong", "FAILED: HTTP Error 401"),
        (
            {"/result/r": {"total_return_pct": 162.9, "num_trades": 34}},
            "none",
            "",
            "FAILED: run r has total_return_pct",
        ),
    ],
)
def test_helm_test_fails(
    answers: dict[str, Any], mode: str, token: str, why: str, tmp_path: Path
) -> None:
    done = run_test({**ALL_WELL, **answers}, mode, tmp_path, token)
    assert done.returncode == 1
    assert why in done.stderr
    assert "Where to look: the log" in done.stderr
