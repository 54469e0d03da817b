"""`make kind-up` on a machine that lacks something: one sentence, and nothing is started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.config import ROOT

TOOLS = ("docker", "kind", "kubectl", "helm")
WORKING = {"docker": "case $* in *MemTotal*) echo 16000000000 ;; esac", "kind": "exit 0"}


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH of tools that note what they are asked for and do nothing."""
    for name in TOOLS:
        tool(tmp_path, name, WORKING.get(name, "exit 0"))
    for name in (
        "bash",
        "sed",
        "grep",
        "cat",
        "mktemp",
        "rm",
        "git",
        "date",
        "sleep",
        "tail",
        "tr",
    ):
        (tmp_path / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def tool(folder: Path, name: str, does: str) -> None:
    (folder / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {folder}/asked\n{does}\n')
    (folder / name).chmod(0o755)


def kind_up(tools: Path, port: int = 8099, what: str = "up") -> tuple[int, str, str]:
    environment = {**os.environ, "PATH": str(tools), "PORT": str(port), "CLUSTER": "none"}
    done = subprocess.run(
        ["bash", "scripts/kind.sh", what], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    calls = (tools / "asked").read_text() if (tools / "asked").exists() else ""
    return done.returncode, done.stderr, calls


@pytest.mark.parametrize("name", TOOLS)
def test_a_missing_tool(tools: Path, name: str) -> None:
    (tools / name).unlink()
    code, error, calls = kind_up(tools)
    assert (code, error) == (1, f"kind-up: {name} is missing: install it and put it on the PATH\n")
    assert "create" not in calls


def test_docker_is_stopped(tools: Path) -> None:
    tool(tools, "docker", "exit 1")
    code, error, calls = kind_up(tools)
    assert code == 1
    assert (
        error
        == "kind-up: Docker does not answer: start it, or give your user the right to use it\n"
    )
    assert "create" not in calls


def test_too_little_memory(tools: Path) -> None:
    tool(tools, "docker", "case $* in *MemTotal*) echo 2000000000 ;; esac")
    assert kind_up(tools)[1] == "kind-up: Docker has 2000 MB of memory: give it at least 4 GB\n"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_the_port_is_taken(tools: Path, taken: int) -> None:
    code, error, calls = kind_up(tools, taken)
    assert (code, error) == (
        1,
        f"kind-up: port {taken} is taken: make kind-up KIND_PORT={taken + 1}\n",
    )
    assert "create" not in calls


def test_a_port_taken_by_the_cluster_itself_is_right(tools: Path, taken: int) -> None:
    tool(tools, "kind", "case $* in 'get clusters') echo none ;; esac")
    tool(tools, "kubectl", "exit 1")
    code, error, calls = kind_up(tools, taken)
    assert code == 1
    assert "the cluster none does not answer: make kind-down, then make kind-up" in error
    assert "create cluster" not in calls


@pytest.mark.parametrize("what", ["load", "demo", "test"])
def test_what_needs_a_cluster_says_so(tools: Path, what: str) -> None:
    assert kind_up(tools, what=what)[1] == "kind-up: there is no cluster none yet: make kind-up\n"


def test_the_user_s_own_kubeconfig_is_never_named() -> None:
    assert "export KUBECONFIG=$PWD/.kubeconfig-$CLUSTER" in (ROOT / "scripts/kind.sh").read_text()


def test_an_error_inside_a_step_ends_it(tools: Path) -> None:
    """An image that cannot be built must not lead to an installation of the one before."""
    tool(
        tools,
        "docker",
        "case $* in *MemTotal*) echo 16000000000 ;; build*web*) echo no space; exit 1 ;; esac",
    )
    code, error, calls = kind_up(tools)
    assert code == 1
    assert error.startswith("no space\n")
    assert 'kind-up: the step "build the images" failed' in error
    assert "helm" not in calls
    assert "build --build-arg WEB_IMAGE" not in calls
