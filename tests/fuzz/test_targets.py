"""The inputs from which fuzzing begins, and those that it has found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.contract.batch import parse_batch
from service.contract.request import parse_request
from service.contract.sweep import parse_sweep
from tests.fuzz.targets import DOCUMENTS, TARGETS

# Inputs that crashed once: the name of the target, and the input.
FOUND: list[tuple[str, bytes]] = [
    (
        "csv",
        b"Date,Open,High,Low,Close,Volume\n2020-01-02T00Z,1,2,1,1,1\n2020-01-03T00+05,1,2,1,1,1\n",
    ),
]
ODD = (b"", b"\x00", b"\xff" * 9, b"[" * 4000)


def examples() -> Iterator[tuple[str, bytes]]:
    for name, target in TARGETS.items():
        for text in (*target.seeds, *target.words):
            yield name, text.encode("utf-8", "surrogatepass")
        for data in ODD:
            yield name, data
    yield from FOUND


def test_fuzzing_begins_with_documents_that_are_taken() -> None:
    for parse, document in zip((parse_request, parse_sweep, parse_batch), DOCUMENTS, strict=True):
        parse(document)


@pytest.mark.parametrize(("name", "data"), list(examples()))
def test_it_is_taken_or_refused_with_a_sentence(name: str, data: bytes) -> None:
    TARGETS[name].run(data)
