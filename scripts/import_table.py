"""Writes the table of rooms into CONTRIBUTING.md, from the import contracts in pyproject.toml.

    python scripts/import_table.py           writes it
    python scripts/import_table.py --check   exit code 1 when the table is not what it would write

A room is a package (or a module) with a contract of its own; its first docstring says what it is.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # run from the root, import from the root

from scripts.config import ROOT

GUIDE = ROOT / "CONTRIBUTING.md"
START = "<!-- rooms: made by make import-table -->"
END = "<!-- end of rooms -->"
OURS = ("backtest", "rules", "extracted", "service", "scripts")
COMMANDS = (
    "| `app.py`, `worker.py`, commands in `scripts/` | They start what a room holds; nobody imports"
    " them. | anything |  |"
)


def importers() -> Mapping[str, Sequence[str]]:
    """Who may import each protected room or library, as pyproject.toml has it."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {
        contract["name"]: contract["allowed_importers"]
        for contract in contracts["contracts"]
        if contract["type"] == "protected" and contract["protected_modules"] == [contract["name"]]
    }


def table() -> str:
    """Markdown: each room, what it is, what it may import of ours, and the libraries it may use."""
    allowed = importers()
    rooms = [name for name in allowed if name.split(".")[0] in OURS]
    libraries = [name for name in allowed if name not in rooms]
    lines = [
        "| Room | What it is | May import, of ours | The only place for |",
        "|---|---|---|---|",
        *(_line(room, rooms, libraries, allowed) for room in rooms),
        COMMANDS,
    ]
    return "\n".join(lines)


def _line(
    room: str,
    rooms: Sequence[str],
    libraries: Sequence[str],
    allowed: Mapping[str, Sequence[str]],
) -> str:
    may_import = [other for other in rooms if other != room and _covers(allowed[other], room)]
    only_here = [library for library in libraries if _touches(allowed[library], room)]
    path = f"`{room.replace('.', '/')}`"
    cells = [path, _purpose(room), _listed(may_import), _listed(only_here)]
    return f"| {' | '.join(cells)} |"


def _covers(importers: Iterable[str], room: str) -> bool:
    """Whether the whole room is among the importers; `scripts` there means its commands."""
    names = [name for name in importers if name != "scripts"]
    return any(room == name or room.startswith(f"{name}.") for name in names)


def _touches(importers: Iterable[str], room: str) -> bool:
    """Whether the room, or a part of it, is among the importers."""
    return any(f"{name}.".startswith(f"{room}.") for name in importers)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name.replace('.', '/')}`" for name in names)


def _purpose(room: str) -> str:
    path = ROOT / room.replace(".", "/")
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    purpose = ast.get_docstring(ast.parse(source.read_text())) or PURPOSES[room]
    return purpose.splitlines()[0]


# Their bytes decide what a result is: these packages cannot take a docstring.
PURPOSES = {
    "backtest": "The engine, frozen: prices and signals in, equity, trades and metrics out.",
    "rules": "Trading rules: prices in, signals out; their names, limits and combinations.",
    "extracted": "Indicators: arrays in, arrays out.",
}


def main(words: Sequence[str]) -> int:
    """Writes the table, or with --check returns 1 where it is out of date."""
    text = GUIDE.read_text()
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    wanted = f"{before}{START}\n{table()}\n{END}{after}"
    if "--check" not in words:
        GUIDE.write_text(wanted)
    elif text != wanted:
        print("CONTRIBUTING.md: the table of rooms is out of date; run make import-table")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
