"""Every query of web and controller is answered from an index."""

from __future__ import annotations

import re

from sqlalchemy import Engine

from tests.support.databases import MYSQL
from tests.support.many_runs import Counts, QueryPlans, fill, queries

COUNTS = Counts(runs=4000, at_work=40, waiting=400)
WHOLE_TABLE = re.compile(r"None, \d+ rows, (?!None)|filesort|SCAN runs|TEMP B-TREE")


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
