"""The ledger: what is in it does not depend on how and in which order it was tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trials.ledger import SAMPLED, Entry, Ledger, ledger_of, tries_of
from service.trials.luck import NO_LUCK
from service.trials.records import LARGEST_KEY, Tried, records_of, share_of_keys, tried_on

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
    return tried_on(days, records, len(keys) if count is None else count, complete_to)


def ledger(entries: list[Entry], cut: int = LARGEST_KEY) -> Ledger:
    return ledger_of(entries, *DAYS, cut)


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


def test_of_a_trial_on_other_dates_too_that_on_the_same_days_counts_else_the_latest() -> None:
    entries = [
        Entry(1, tried([5], 1.0, ("2020-12-01", "2024-12-31"))),
        Entry(2, tried([5], 2.0, DAYS)),
        Entry(3, tried([5], 3.0, DAYS)),
        Entry(4, tried([5], 4.0, ("2010-01-04", "2021-12-31"))),
    ]
    assert ledger(entries).records["sharpe"].tolist() == [2.0]
    assert ledger([entries[3], entries[0]]).records["sharpe"].tolist() == [1.0]
    assert ledger(entries).number_of(1) == 1


def test_a_trial_with_a_sketch_counts_before_one_of_an_earlier_release() -> None:
    earlier = records_of(
        np.array([5]), np.array([1.0]), np.array([np.nan]), np.zeros((1, 32), np.int8)
    )
    found = ledger([Entry(1, tried_on(DAYS, earlier, 1)), Entry(2, tried([5], 2.0))])
    assert found.records["sharpe"].tolist() == [2.0]
    assert found.number_of(1) == 1


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


def test_a_search_that_kept_few_records_counts_whole() -> None:
    few = ledger([Entry(1, tried([3, 4], count=5_000, complete_to=LARGEST_KEY // 10))])
    assert few.count == 5_000
    none = ledger([Entry(1, tried([], count=20, complete_to=LARGEST_KEY // 80))])
    assert (none.count, none.is_complete) == (20, False)
    assert tries_of([none]).luck(np.full(1, np.nan), 0.4).effective == pytest.approx(20, rel=0.01)
    singles = [Entry(number, tried([number])) for number in range(10, 19)]
    both = ledger([Entry(1, tried([3, 4], count=30, complete_to=LARGEST_KEY // 10)), *singles])
    assert both.count == 39
    assert both.number_of(18) == 39
    assert both.number_of(1) == 30


def test_a_trial_of_a_sampled_search_that_was_run_alone_counts_once() -> None:
    sampled = Entry(1, tried([3, 4], count=30, complete_to=LARGEST_KEY // 10))
    assert ledger([sampled, Entry(2, tried([3]))]).count == 16
    whole = Entry(2, tried([3, 4, 5, 6]))
    assert ledger([sampled, whole]).records["key"].tolist() == [3, 4, 5, 6]


def test_entries_that_were_left_out_cut_the_sample() -> None:
    entries = [Entry(number, tried([number, LARGEST_KEY - number])) for number in range(1, 11)]
    found = ledger(entries, cut=LARGEST_KEY // 2)
    assert found.records["key"].tolist() == list(range(1, 11))
    assert found.count == 20


def test_records_that_were_not_read_cut_the_sample() -> None:
    keys = [place * (LARGEST_KEY // 101) for place in range(101)]
    part = replace(tried(keys), records=tried(keys[:20]).records, read_to=keys[19])
    other = [LARGEST_KEY // 1000 + each for each in keys]
    found = ledger([Entry(1, part), Entry(2, tried(other))])
    assert found.count == pytest.approx(202, rel=0.06)
    assert len(found.records) == 39


def test_never_nothing_of_something() -> None:
    entries = [Entry(number, tried([5, 100 + number])) for number in range(9)]
    found = ledger(entries, cut=4)
    assert (found.count, found.is_complete) == (10, False)


def test_the_farthest_reach_of_a_trial_counts() -> None:
    """Those of a sampled search that were tried alone, too, are known to the last key."""
    sampled = Entry(1, tried([3, 4], count=2, complete_to=LARGEST_KEY // 10))
    alone = [Entry(number, tried([number])) for number in range(3, 2000)]
    assert ledger([sampled, *alone]).count == ledger(alone).count


def test_sets_without_records_are_each_their_own() -> None:
    sets = {tried([], count=count, complete_to=9).columns()["set_key"] for count in (20, 30)}
    sets |= {tried([5]).columns()["set_key"]}
    plain = tried([5])
    without = replace(plain, records=plain.records.copy())
    without.records["sketch"] = 0
    assert len(sets | {without.columns()["set_key"]}) == 4


@given(st.integers(0, 2**32), st.integers(1, 4))
def test_the_count_is_right_on_average(seed: int, searches: int) -> None:
    """Searches that overlap, each with its own share of records, and single runs."""
    drawn = random(seed)
    pool = np.unique(drawn.integers(0, LARGEST_KEY, 30_000))
    entries = []
    every: set[int] = set()
    for number in range(searches):
        own = np.unique(drawn.choice(pool, int(drawn.integers(500, 20_000))))
        share = share_of_keys(len(own))
        kept = own[own <= share].tolist()
        entries.append(Entry(number, tried(kept, count=len(own), complete_to=share)))
        every |= set(own.tolist())
    singles = drawn.choice(pool, 50).tolist()
    entries += [Entry(10 + number, tried([key])) for number, key in enumerate(singles)]
    every |= set(singles)
    assert ledger(entries).count == pytest.approx(len(every), rel=0.25)


def test_on_two_tickers_the_same_rule_was_tried_twice() -> None:
    one = ledger([Entry(1, tried([1, 2, 3]))])
    both = tries_of([one, ledger([Entry(2, tried([2, 3]))])])
    assert (both.count, both.keys.tolist()) == (5, [1, 2, 3, 2, 3])
    assert both.are_others(2, 1).tolist() == [True, True, True, False, True]
    assert both.groups.labels.tolist()[:3] == tries_of([one]).groups.labels.tolist()
    assert set(both.groups.labels[:3]).isdisjoint(both.groups.labels[3:])


def test_nothing_was_tried() -> None:
    empty = ledger([])
    assert (empty.count, empty.is_complete) == (0, True)
    assert tries_of([empty]).luck(tries_of([empty]).sharpe, 1.0) == NO_LUCK
