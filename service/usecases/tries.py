"""The use cases of the ledger: how many tries stand behind a result, and what is left of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from service.doubt.digits import six_digits
from service.store.requests import RequestStore
from service.store.rows import Run, reading
from service.store.trials import StoredTrials
from service.trials.ledger import Entry, Ledger, ledger_of, tries_of
from service.trials.records import Tried, records_from
from service.trials.skill import Judged, Skill, skill_of


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


def tries_of_run(store: RequestStore, run: Run) -> dict[str, TriesOfResult]:
    """Of each ticker of a completed run or sweep whose trial can be judged, in their order.

    All trials on the tickers of a sweep count for each of them: its best one is chosen from all.
    """
    own = store.trials_of(run.reused_from or run.run_id)
    ledgers = {ticker: _ledger(store, stored) for ticker, stored in own.items()}
    found = {}
    for ticker, stored in own.items():
        if stored.judged is None:
            continue
        others = [ledger for name, ledger in ledgers.items() if name != ticker]
        skill = skill_of(_judged(stored), tries_of([ledgers[ticker], *others]))
        number = sum(ledger.number_of(own[name].id) for name, ledger in ledgers.items())
        found[ticker] = TriesOfResult(ticker, number, skill)
    return found


def _ledger(store: RequestStore, own: StoredTrials) -> Ledger:
    """All trials on the ticker of an entry, in dates that overlap with its own."""
    found = store.trials_on(own.ticker, own.first_day, own.last_day)
    entries = [_entry(each) for each in found.entries]
    return ledger_of(entries, own.first_day, own.last_day, found.cut)


def _entry(stored: StoredTrials) -> Entry:
    with reading(f"What run {stored.run_id} tried"):
        records = records_from(stored.records)
    tried = Tried(stored.first_day, stored.last_day, records, stored.trials, stored.complete_to)
    return Entry(stored.id, tried)


def _judged(stored: StoredTrials) -> Judged:
    with reading(f"The trial of run {stored.run_id}"):
        return Judged.from_document(json.loads(stored.judged or ""))
