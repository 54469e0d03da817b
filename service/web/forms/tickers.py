"""Tickers as users write them in forms and searches: by their names too."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from service.contract.request import in_capitals
from service.store.names import NameStore

FIELDS = ("ticker", "tickers", "benchmark")
SEPARATOR = re.compile(r"[,;\n]+")


def names_in(text: str) -> list[str]:
    """The words that a user wrote, separated by spaces, commas or semicolons.

    What is none of A to Z stays as it is: it may be the letter of a name.
    """
    return [in_capitals(word) for word in re.findall(r"[^\s,;]+", text)]


def form_with_tickers(form: Mapping[str, str], store: NameStore) -> dict[str, str]:
    """The form with tickers in the place of names, also of such that have several words.

    Those are written between commas, or alone.
    """
    parts = {name: _parts(form[name]) for name in FIELDS if form.get(name, "").strip()}
    asked = {part for each in parts.values() for part in each if not _is_plain(part)}
    found = store.tickers_of(asked) if asked else {}
    replaced = {
        name: ", ".join(found.get(part, part) for part in each) for name, each in parts.items()
    }
    return {**form, **replaced} if found else dict(form)


def _parts(text: str) -> Sequence[str]:
    return [part.strip() for part in SEPARATOR.split(text) if part.strip()]


def _is_plain(part: str) -> bool:
    """Whether it can only be one ticker or several."""
    return part.isascii() and " " not in part
