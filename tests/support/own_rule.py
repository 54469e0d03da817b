"""The example of docs/your-own-rule.md as files."""

from __future__ import annotations

import re
from pathlib import Path

from scripts.config import ROOT


def write_example(folder: Path) -> Path:
    """Writes the files of the example into a new folder, and returns the folder."""
    text = (ROOT / "docs" / "your-own-rule.md").read_text()
    folder.mkdir()
    for name, language in (("falling_days.py", "python"), ("pyproject.toml", "toml")):
        (block,) = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
        (folder / name).write_text(block)
    return folder
