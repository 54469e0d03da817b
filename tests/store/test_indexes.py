"""Every question that web and controller ask is answered from an index (on MySQL too); benchmarks.database has the times."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import Engine

from benchmarks import database as bench
from benchmarks.database import Watched, fill, questions
from tests.conftest import MYSQL

WHOLE_TABLE = re.compile(r"None, \d+ rows, (?!None)|filesort|SCAN runs|TEMP B-TREE")


def test_no_question_scans_or_sorts_the_table(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, rows in {"RUNS": 4000, "AT_WORK": 40, "WAITING": 400}.items():
        monkeypatch.setattr(bench, name, rows)
    fill(engine)
    watched = Watched(engine)
    for name, ask in questions(engine).items():
        plans = watched.explain(ask)
        assert plans or MYSQL, name  # MySQL has none where it finds that there is no such row
        for plan in plans:
            assert not WHOLE_TABLE.search(plan) or (name, plan) == ("latest 50", "SCAN runs"), (
                name,
                plan,
            )
