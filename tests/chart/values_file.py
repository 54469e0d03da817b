"""values.yaml as its readers see it: each commented value with its path, words and default."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.chart.drawing import schema
from tests.chart.rendering import Object


def comments(path: Path) -> dict[str, str]:
    """The comment above each value, by the value's path.

    The format is helm-docs': `# -- words`, continued by `# `.
    """
    words_by_path = {}
    keys: list[str] = []
    words = ""
    for line in path.read_text().splitlines():
        text = line.strip()
        if text.startswith("# -- "):
            words = text.removeprefix("# -- ")
        elif text.startswith("#"):
            words += text.removeprefix("#") if words else ""
        elif ":" in text and not text.startswith("-"):
            keys = [*keys[: (len(line) - len(line.lstrip())) // 2], text.partition(":")[0]]
            if words:
                words_by_path[".".join(keys)] = words
            words = ""
    return words_by_path


def defaults(path: Path) -> dict[str, Any]:
    """Path of each commented value to its default."""
    values = yaml.safe_load(path.read_text())
    return {name: value_at(values, name) for name in comments(path)}


def value_at(values: Any, path: str) -> Any:
    for key in path.split("."):
        values = values[key]
    return values


def leaves(values: Object, path: str = "") -> Iterator[str]:
    """Path of every value that is no section; an empty map is a value."""
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        if isinstance(value, dict) and value:
            yield from leaves(value, here)
        else:
            yield here


@cache
def nodes(subchart: str = "") -> dict[str, Object]:
    """Path of each value to its part of the schema, references followed."""
    own = schema(subchart)
    return dict(_nodes(own, own.get("definitions", {}), ""))


def _nodes(node: Object, definitions: Object, path: str) -> Iterator[tuple[str, Object]]:
    for key, part in node.get("properties", {}).items():
        here = f"{path}.{key}".lstrip(".")
        full = {**definitions[part["$ref"].rpartition("/")[2]], **part} if "$ref" in part else part
        yield here, {name: value for name, value in full.items() if name != "$ref"}
        yield from _nodes(full, definitions, here)
