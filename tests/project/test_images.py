"""The images hold what their programs import, and no secret; files are read, without Docker."""

import ast
import sys
from functools import cache
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical

from service.web.server import gunicorn_conf
from tests.support.images import (
    DOCKERFILE,
    PROGRAMS,
    instructions,
    lines,
    listed,
    with_dependencies,
)

ROOT = Path(__file__).parent.parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
# SQLAlchemy's driver, its logins, the web's command, and what that command's worker imports.
OPTIONAL = {"FinanceDataReader"}  # requirements-krx.txt
NOT_IMPORTED = {
    "pymysql",
    "cryptography",
    "gunicorn",
    "packaging",
    # A font and a script are read from these.
    "koreanize-matplotlib",
    "litecharts",
}


def copied(stage: str) -> set[str]:
    """Our files and folders in the image."""
    text = instructions(stage)
    from_stages = (copied(other) for other in lines(r"COPY --from=(\w+) /app ", text))
    return set(lines(r"COPY (\w[\w.]*) ", text)).union(*from_stages)


@cache
def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None
    )


@cache
def imports(file: Path) -> set[str]:
    """Every name that a file imports, at its top or later."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: name the whole package"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def reached(stage: str) -> tuple[set[Path], set[str]]:
    """(our files, other people's modules) that the programs of an image can come to import."""
    files = set()
    modules = set()
    todo = set(PROGRAMS[stage])
    if "service.store.migrate" in todo:  # Alembic loads these by path
        migrations = (ROOT / "service/store/migrations").rglob("*.py")
        todo |= {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in migrations}
    while todo:
        name = todo.pop()
        package, _, _ = name.rpartition(".")
        if (file := file_of(name)) and file not in files:
            files.add(file)
            todo |= imports(file) | ({package} if package else set())
        elif not file and not (package and file_of(package)):  # else a name inside a module of ours
            modules.add(name.partition(".")[0])
    return files, modules - sys.stdlib_module_names


def owners(modules: set[str]) -> dict[str, set[str]]:
    """Each module's packages."""
    known = packages_distributions()
    needed = modules - OPTIONAL
    return {module: {canonical(name) for name in known[module]} for module in needed}


@pytest.mark.parametrize("stage", PROGRAMS)
def test_an_image_has_what_its_programs_import(stage: str) -> None:
    files, modules = reached(stage)
    installed = with_dependencies(listed(stage))
    assert [
        module for module, packages in owners(modules).items() if not packages & installed
    ] == []
    assert {file.relative_to(ROOT).parts[0] for file in files} - copied(stage) == set()


@pytest.mark.parametrize("stage", PROGRAMS)
def test_an_image_has_no_package_that_nobody_imports(stage: str) -> None:
    _, modules = reached(stage)
    assert listed(stage) - NOT_IMPORTED - set().union(*owners(modules).values()) == set()


def test_the_web_has_what_the_worker_class_of_gunicorn_needs() -> None:
    needed = [Requirement(text) for text in requires("gunicorn") or []]
    extra = {"extra": gunicorn_conf.worker_class}
    names = {
        canonical(requirement.name)
        for requirement in needed
        if requirement.marker is not None and requirement.marker.evaluate(extra)
    }
    assert {"gevent", "packaging"} <= names
    assert names <= with_dependencies(listed("web"))


def test_the_worker_is_no_web() -> None:
    of_the_web = {"flask", "werkzeug", "gunicorn", "gevent", "babel", "kubernetes"}
    assert with_dependencies(listed("worker")) & of_the_web == set()
    assert copied("worker") & {"app.py", "templates", "static"} == set()
    assert copied("web") >= {"app.py", "templates", "static"}


def test_the_images_install_every_requirement() -> None:
    top_level = (ROOT / "requirements.txt").read_text().split("\n\n")[0]
    wanted = {canonical(name) for name in lines(r"([\w.-]+)==", top_level)}
    assert listed("web") | listed("worker") == wanted
    assert listed("local") == wanted


@pytest.mark.parametrize("stage", PROGRAMS)
def test_an_image_runs_as_nobody_in_particular(stage: str) -> None:
    assert lines(r"USER (\S+)", instructions(stage))[-1:] == ["10001:10001"]


def test_images_are_labelled() -> None:
    for stage in ("web", "worker"):
        for label in ("title", "description", "licenses", "source", "version", "revision"):
            assert f"org.opencontainers.image.{label}=" in instructions(stage)


def test_the_build_sees_neither_data_nor_secrets() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    wanted = [
        "data/",
        "logs/",
        "**/__pycache__/",
        ".env",
        ".git/",
        ".claude/",
        "tests/",
        ".venv/",
        "*.sqlite3*",
    ]
    assert set(wanted) - set(ignored) == set()
    assert lines(r"(?:ADD |COPY \.)", DOCKERFILE) == [], "name what is copied"


def test_prices_travel_apart() -> None:
    text = (ROOT / "data/Dockerfile").read_text()
    assert "COPY *.csv SOURCES.md data/" in text
    assert "USER" not in text
    assert "data" not in copied("web") | copied("worker")


def test_compose_holds_no_secret() -> None:
    for service in COMPOSE["services"].values():
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or (
                name.endswith("_FILE") and value.startswith("/run/secrets/")
            ), name


@pytest.mark.parametrize("name", ["web", "controller", "setup"])
def test_compose_runs_our_programs_without_privileges(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
