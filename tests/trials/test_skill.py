"""How likely a result is more than luck after all tries."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from service.doubt.luck import expected_maximum_sharpe, minimum_backtest_years
from service.trials.ledger import Entry, ledger_of, tries_of
from service.trials.records import records_of, tried_on
from service.trials.skill import Judged, judged_of, skill_of

DAYS = ("2010-01-04", "2019-12-31")
BARS, PERIODS = 2520, 252.0


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def judged(seed: int = 1, drift: float = 0.0004) -> Judged:
    held = random(seed).normal(0.0003, 0.01, BARS)
    own = random(seed + 100).normal(drift, 0.01, BARS)
    found = judged_of(7, own, 0.0, held, PERIODS)
    assert found is not None
    return found


def among(ratios: np.ndarray) -> object:
    """Tries with these ratios of a year, all different; the first is the one that is judged."""
    keys = np.arange(7, 7 + len(ratios))
    sketches = random(5).normal(0.0, 40.0, (len(ratios), 32)).astype(np.int8)
    tried = tried_on(DAYS, records_of(keys, ratios, 2 * ratios, sketches), len(ratios))
    return tries_of([ledger_of([Entry(1, tried)], *DAYS)])


@pytest.mark.parametrize(
    ("tries", "years"),
    [(7, 1.923), (45, 4.998), (100, 6.404), (1_000, 10.596), (10_000, 14.905)],
)
def test_the_minimum_length_of_a_backtest(tries: int, years: float) -> None:
    assert minimum_backtest_years(tries) == pytest.approx(years, abs=5e-4)
    assert minimum_backtest_years(tries, target=2.0) == pytest.approx(years / 4, abs=5e-4)


def test_the_first_try_is_as_if_nothing_else_were_there() -> None:
    one = judged()
    skill = skill_of(one, among(np.array([one.sharpe])))  # type: ignore[arg-type]
    assert (skill.tries, skill.groups, skill.luck, skill.needed_years) == (1, 1, 0.0, 0.0)
    assert skill.deflated == skill.probabilistic
    assert skill.timing == one.timing.probability()  # type: ignore[union-attr]
    assert skill.left.holm == pytest.approx(skill.sharpe)
    assert skill.years == 10.0


def test_with_each_try_less_is_left() -> None:
    one = judged()
    ratios = np.concatenate([[one.sharpe], random(6).normal(0.0, 0.35, 999)])
    skills = [skill_of(one, among(ratios[:count])) for count in (1, 10, 100, 1000)]  # type: ignore[arg-type]
    for name in ("deflated", "timing"):
        values = [getattr(skill, name) for skill in skills]
        assert values == sorted(values, reverse=True)
        assert len(set(values)) == 4
    assert [skill.tries for skill in skills] == [1, 10, 100, 1000]
    needed = [skill.needed_years for skill in skills]
    assert needed == sorted(needed)
    left = [skill.left.bonferroni for skill in skills]
    assert left == sorted(left, reverse=True)


def test_each_probability_is_by_its_own_ratios() -> None:
    """Those of the timing are twice those of the returns."""
    one = judged()
    ratios = random(9).normal(0.0, 0.3, 50)
    tries = among(ratios)
    skill = skill_of(one, tries)  # type: ignore[arg-type]
    spread = float(np.std(ratios, ddof=1))
    luck = expected_maximum_sharpe(50, spread)
    root = math.sqrt(PERIODS)
    assert skill.luck == pytest.approx(luck, rel=1e-3)
    assert skill.deflated == pytest.approx(one.excess.probability(luck / root), rel=1e-3)
    assert one.timing is not None
    assert skill.timing == pytest.approx(one.timing.probability(2 * luck / root), rel=1e-3)


def test_what_is_judged_is_stored_as_json() -> None:
    one = judged()
    assert Judged.from_document(json.loads(json.dumps(one.document()))) == one


def test_a_run_that_holds_all_the_time_has_no_timing() -> None:
    held = random(8).normal(0.0003, 0.01, BARS)
    found = judged_of(7, held, 0.0, held, PERIODS)
    assert found is not None
    assert found.timing is None
    assert math.isnan(skill_of(found, among(np.array([found.sharpe]))).timing)  # type: ignore[arg-type]
    assert judged_of(7, np.zeros(BARS), 0.0, held, PERIODS) is None
    endless = held.copy()
    endless[3] = np.inf
    with np.errstate(invalid="ignore"):
        assert judged_of(7, endless, 0.0, held, PERIODS) is None
