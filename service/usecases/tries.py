"""The use cases of the ledger: how many tries stand behind a result, and what is left of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from service.contract.errors import BadRow
from service.doubt.digits import six_digits
from service.store.requests import RequestStore
from service.store.rows import Run, reading
from service.store.trials import OwnTrials, StoredTrials, TrialsOnTicker
from service.trials.ledger import SAMPLED, Entry, Ledger, ledger_of, tries_of
from service.trials.records import LARGEST_KEY, Tried, records_from
from service.trials.skill import Judged, Skill, skill_of

logger = logging.getLogger(__name__)

LEAST_SAMPLED = 64  # tries of each ticker of a search on many


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


def called_here(function: Callable[..., Any], *arguments: object) -> Any:
    """The simplest way to compute."""
    return function(*arguments)


def tries_of_run(
    store: RequestStore,
    run: Run,
    ticker: str | None = None,
    compute: Callable[..., Any] = called_here,
) -> dict[str, TriesOfResult]:
    """Of each ticker of a completed run or sweep whose trial can be judged, in their order.

    With `ticker` of that one alone. All trials on the tickers of a sweep count for each of them:
    its best one is chosen from all. `compute` calls a function, perhaps in another thread.
    """
    own = store.trials_of(run.reused_from or run.run_id)
    sampled = max(LEAST_SAMPLED, SAMPLED // max(len(own), 1))
    found = {
        name: store.trials_on(name, each.first_day, each.last_day, sampled)
        for name, each in own.items()
    }
    wanted = own if ticker is None else {ticker}
    judged = {
        name: trial
        for name, each in own.items()
        if name in wanted and (trial := _judged(run, each)) is not None
    }
    if not judged:
        return {}
    computed: dict[str, TriesOfResult] = compute(_judge, own, found, sampled, judged)
    return computed


def _judge(
    own: Mapping[str, OwnTrials],
    found: Mapping[str, TrialsOnTicker],
    sampled: int,
    judged: Mapping[str, Judged],
) -> dict[str, TriesOfResult]:
    ledgers = {name: _ledger(found[name], each, sampled) for name, each in own.items()}
    tries = tries_of(list(ledgers.values()))
    number = sum(ledger.number_of(own[name].id) for name, ledger in ledgers.items())
    return {
        name: TriesOfResult(name, number, skill_of(each, tries, list(own).index(name)))
        for name, each in judged.items()
    }


def _ledger(found: TrialsOnTicker, own: OwnTrials, sampled: int) -> Ledger:
    entries = _entries(found.entries)
    return ledger_of(entries, own.first_day, own.last_day, found.cut, sampled)


def _entries(stored: Sequence[StoredTrials]) -> list[Entry]:
    """One that cannot be read is left out: it stops no other."""
    entries = []
    for each in stored:
        try:
            entries.append(_entry(each))
        except BadRow as error:
            logger.error("%s: %s", error, error.__cause__)
    return entries


def _entry(stored: StoredTrials) -> Entry:
    head = stored.head
    with reading(f"What run {head.run_id} tried"):
        records = records_from(stored.records)
        if not (0 < len(records) <= head.kept <= head.trials or head.kept == 0):
            raise ValueError(f"{len(records)} records of {head.kept} of {head.trials}")
        if head.complete_to < 0:
            raise ValueError(f"complete to {head.complete_to}")
        is_whole = len(records) == head.kept
        tried = Tried(
            first_day=head.first_day,
            last_day=head.last_day,
            records=records,
            count=head.trials,
            kept=head.kept,
            complete_to=head.complete_to,
            read_to=LARGEST_KEY if is_whole else int(records["key"][-1]),
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
