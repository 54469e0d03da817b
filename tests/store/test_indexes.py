"""Every query of web and controller is answered from an index."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.support.databases import MYSQL, migrated_database
from tests.support.many_runs import SEARCHES, Counts, QueryPlans, fill, queries
from tests.support.stores import EveryStore

COUNTS = Counts(runs=4000, at_work=40, waiting=400)
# The rows themselves, from the first to the last
WHOLE_SCAN = re.compile(
    r"^ALL None, [0-9]{4,} rows, .*filesort|^SCAN runs$|^(range|index) PRIMARY.*filesort"
)
WHOLE_TABLE = re.compile(r"None, \d+ rows, (?!None)|filesort|SCAN runs|TEMP B-TREE")


# Few runs that are known beforehand are looked up one by one instead.
BY_ID = ("with a tag of every third run", "with a star")


@pytest.mark.parametrize("name", [name for name in SEARCHES if name not in BY_ID])
def test_a_search_reads_the_narrow_index_and_no_rows_but_those_it_answers(
    many_runs: Engine, name: str
) -> None:
    store = EveryStore(many_runs)
    conditions, sort = SEARCHES[name]
    plans = QueryPlans(many_runs).explain(lambda: store.find(conditions, sort, 50))
    assert any("ix_runs_search" in plan for plan in plans)
    for plan in plans:
        assert WHOLE_SCAN.search(plan) is None, plan


@pytest.fixture(scope="module")
def many_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A database with thousands of runs, for tests that only read."""
    with migrated_database(tmp_path_factory.mktemp("many")) as engine:
        fill(engine, COUNTS)
        yield engine


def test_no_question_scans_or_sorts_the_table(engine: Engine) -> None:
    fill(engine, COUNTS)
    query_plans = QueryPlans(engine)
    for name, query in queries(engine, COUNTS).items():
        plans = query_plans.explain(query)
        # MySQL has no plan where it finds that there is no such row.
        assert plans or MYSQL, name
        for plan in plans:
            is_the_listing = (name, plan) == ("latest 50", "SCAN runs")
            assert not WHOLE_TABLE.search(plan) or is_the_listing, (name, plan)
