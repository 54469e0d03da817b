"""The use cases of the ledger: how many tries stand behind a result, and what is left of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from service.contract.errors import BadRow
from service.doubt.digits import six_digits
from service.store.requests import RequestStore
from service.store.rows import Run, reading
from service.store.trials import RECORD_BYTES, Head, OwnTrials
from service.trials.ledger import SAMPLED, Entry, Ledger, ledger_of, tries_of
from service.trials.records import LARGEST_KEY, Tried, records_from
from service.trials.skill import Judged, Skill, skill_of
from service.usecases.views import Compute, called_here

logger = logging.getLogger(__name__)

LEAST_SAMPLED = 64  # tries of each ticker of a search on many
# Records of a set that are read at first, beyond those that a fair sample needs.
SPARE_RECORDS = 32
SPARE_FACTOR = 1.5
LONGEST_SET = 4096  # records
MORE_RECORDS = 4  # times as many, where the sample is small
MOST_BYTES = 2**25  # of records that are read of a ticker at once


@dataclass(frozen=True)
class TriesOfResult:
    """A result among all tries on its prices; `number` had been made once it was there."""

    ticker: str
    number: int
    skill: Skill

    def document(self) -> dict[str, Any]:
        """As JSON has it; null where a number is undefined."""
        skill = self.skill
        return {
            "ticker": self.ticker,
            "number": self.number,
            "tries": skill.tries,
            "is_exact": skill.is_exact,
            "groups": skill.groups,
            "effective_tries": six_digits(skill.effective),
            "years": six_digits(skill.years),
            "needed_years": six_digits(skill.needed_years),
            "sharpe_ratio": six_digits(skill.sharpe),
            "sharpe_ratio_of_luck": six_digits(skill.luck),
            "sharpe_ratio_left": {
                name: six_digits(value) for name, value in asdict(skill.left).items()
            },
            "probabilistic_sharpe_ratio": six_digits(skill.probabilistic),
            "deflated_sharpe_ratio": six_digits(skill.deflated),
            "timing_probability": six_digits(skill.timing),
        }


def tries_of_run(
    store: RequestStore,
    run: Run,
    ticker: str | None = None,
    compute: Compute = called_here,
) -> dict[str, TriesOfResult]:
    """Of each ticker of a completed run or sweep whose trial can be judged, in their order.

    With `ticker` of that one alone. All trials on the tickers of a sweep count for each of them:
    its best one is chosen from all. `compute` calls a function, perhaps in another thread.
    """
    own = store.trials_of(run.reused_from or run.run_id)
    wanted = own if ticker is None else {ticker}
    judged = {
        name: trial
        for name, each in own.items()
        if name in wanted and (trial := _judged(run, each)) is not None
    }
    if not judged:
        return {}
    sampled = max(LEAST_SAMPLED, SAMPLED // len(own))
    ledgers = {name: _ledger(store, each, sampled, compute) for name, each in own.items()}
    computed: dict[str, TriesOfResult] = compute(_judge, own, ledgers, judged)
    return computed


def _judge(
    own: Mapping[str, OwnTrials], ledgers: Mapping[str, Ledger], judged: Mapping[str, Judged]
) -> dict[str, TriesOfResult]:
    tries = tries_of(list(ledgers.values()))
    number = sum(ledger.number_of(own[name].id) for name, ledger in ledgers.items())
    return {
        name: TriesOfResult(name, number, skill_of(each, tries, list(own).index(name)))
        for name, each in judged.items()
    }


def _ledger(store: RequestStore, own: OwnTrials, sampled: int, compute: Compute) -> Ledger:
    """All trials on the ticker of an entry, in dates that overlap with its own.

    Of long sets some records are read at first, and more where the sample is smaller than it could
    be: sets that overlap have fewer different trials than it seems.
    """
    found = store.trials_on(own.ticker, own.first_day, own.last_day)
    ids = [head.id for head in found.heads]
    count = sum(head.trials for head in found.heads)
    length = SPARE_RECORDS + round(min(1.0, SPARE_FACTOR * sampled / max(count, 1)) * LONGEST_SET)
    while True:
        records = store.trial_records(ids, length)
        entries = [_entry(head, records[head.id]) for head in found.heads if head.id in records]
        ledger: Ledger = compute(
            ledger_of, entries, own.first_day, own.last_day, found.cut, sampled
        )
        is_whole = all(entry.tried.read_to == LARGEST_KEY for entry in entries)
        length *= MORE_RECORDS
        is_too_much = length * len(ids) * RECORD_BYTES > MOST_BYTES
        if is_whole or is_too_much or len(ledger.records) >= sampled:
            return ledger


def _entry(head: Head, content: bytes) -> Entry:
    records = records_from(content)
    is_whole = len(records) == head.kept
    tried = Tried(
        first_day=head.first_day,
        last_day=head.last_day,
        records=records,
        count=head.trials,
        kept=head.kept,
        complete_to=head.complete_to,
        read_to=LARGEST_KEY if is_whole else int(records["key"][-1]) - 1,
    )
    return Entry(head.first_id, tried)


def _judged(run: Run, own: OwnTrials) -> Judged | None:
    """None where the result has nothing to be judged, or it cannot be read."""
    if own.judged is None:
        return None
    try:
        with reading(f"The trial of run {run.run_id}"):
            return Judged.from_document(json.loads(own.judged))
    except BadRow as error:
        logger.error("%s: %s", error, error.__cause__)
        return None
