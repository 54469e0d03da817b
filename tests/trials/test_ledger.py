"""The ledger: what is in it does not depend on how and in which order it was tried."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trials.ledger import SAMPLED, Entry, Ledger, ledger_of, tries_of
from service.trials.luck import NO_LUCK
from service.trials.records import LARGEST_KEY, Tried, records_of, share_of_keys

DAYS = ("2015-01-02", "2020-12-31")


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def tried(
    keys: list[int],
    sharpe: float = 1.0,
    days: tuple[str, str] = DAYS,
    count: int | None = None,
    complete_to: int = LARGEST_KEY,
) -> Tried:
    """Trials with these keys and the same ratio."""
    ratios = np.full(len(keys), sharpe)
    sketches = random(1).integers(-127, 127, (len(keys), 32)).astype(np.int8)
    records = records_of(np.array(keys, np.int64), ratios, ratios, sketches)
    return Tried(*days, records, len(keys) if count is None else count, complete_to)


def ledger(entries: list[Entry], cut: int = LARGEST_KEY) -> Ledger:
    return ledger_of(entries, *DAYS, cut=cut)


@given(st.lists(st.lists(st.integers(0, 30), min_size=1), min_size=1, max_size=6), st.randoms())
def test_each_trial_counts_once_in_whatever_order(keys: list[list[int]], lots: object) -> None:
    entries = [Entry(number, tried(each)) for number, each in enumerate(keys)]
    distinct = sorted({key for each in keys for key in each})
    found = ledger(entries)
    assert found.records["key"].tolist() == distinct
    assert (found.count, found.is_complete) == (len(distinct), True)
    for number in range(len(keys)):
        assert found.number_of(number) == len({key for each in keys[: number + 1] for key in each})
    shuffled = list(entries)
    lots.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ledger(shuffled).records.tobytes() == found.records.tobytes()


def test_of_a_trial_on_other_dates_too_the_one_with_most_days_in_common_counts() -> None:
    entries = [
        Entry(1, tried([5], 1.0, ("2020-12-01", "2024-12-31"))),
        Entry(2, tried([5], 2.0, ("2016-01-04", "2019-12-31"))),
        Entry(3, tried([5], 3.0, ("2016-01-04", "2019-12-31"))),
    ]
    assert ledger(entries).records["sharpe"].tolist() == [2.0]
    assert ledger(entries).number_of(1) == 1


def test_of_many_trials_a_fair_sample_is_enough() -> None:
    keys = random(2).integers(0, LARGEST_KEY, 50_000)
    share = share_of_keys(50_000)
    kept = keys[keys <= share].tolist()
    alone = ledger([Entry(1, tried(kept, count=50_000, complete_to=share))])
    assert not alone.is_complete
    assert len(alone.records) == SAMPLED
    assert alone.count == pytest.approx(50_000, rel=0.1)
    others = random(3).integers(0, 2**62, 9)
    singles = [Entry(number, tried([int(key)])) for number, key in enumerate(others)]
    more = ledger([*singles, Entry(20, tried(kept, count=50_000, complete_to=share))])
    assert more.count == pytest.approx(50_000, rel=0.1)
    assert more.number_of(20) == more.count


def test_a_search_with_few_records_has_at_least_its_own_tries() -> None:
    few = ledger([Entry(1, tried([3, 4], count=5_000, complete_to=LARGEST_KEY // 10))])
    assert few.count == 5_000


def test_entries_that_were_left_out_cut_the_sample() -> None:
    entries = [Entry(number, tried([number, LARGEST_KEY - number])) for number in range(1, 11)]
    found = ledger(entries, cut=LARGEST_KEY // 2)
    assert found.records["key"].tolist() == list(range(1, 11))
    assert found.count == 20


def test_on_two_tickers_the_same_rule_was_tried_twice() -> None:
    one = ledger([Entry(1, tried([1, 2, 3]))])
    both = tries_of([one, ledger([Entry(2, tried([2, 3]))])])
    assert (both.count, both.keys.tolist()) == (5, [1, 2, 3, 2, 3])
    assert both.groups.labels.tolist()[:3] == tries_of([one]).groups.labels.tolist()
    assert set(both.groups.labels[:3]).isdisjoint(both.groups.labels[3:])


def test_nothing_was_tried() -> None:
    empty = ledger([])
    assert (empty.count, empty.weight) == (0, 1.0)
    assert tries_of([empty]).luck(tries_of([empty]).sharpe, 1.0) == NO_LUCK
