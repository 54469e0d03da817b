"""Searching a rule's parameters: which combinations there are, and which is best by a score that others compute."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rules.base_rule import MAX_DECIMALS, BaseRule, ConditionRule, InvalidRule, Parameter, refuse_unknown

Columns = Mapping[str, NDArray[Any]]
Evaluate = Callable[[Columns], Iterator[Columns]]
Progress = Callable[[int, int], None]

MOST_COMBINATIONS = 100_000
LARGEST = Decimal(10) ** 15  # number that is written in a range
# Of these a smaller number is the better one.
LESS_IS_BETTER = frozenset(
    {"max_drawdown_pct", "max_drawdown_days", "volatility_pct", "exposure_pct", "turnover", "total_costs", "kurtosis"}
)


@dataclass(frozen=True)
class Grid:
    """Every combination of some values of a rule's parameters, the last parameter running fastest.

    `params` has an array of shape (m,) for every parameter of the rule, in declared order; `skipped` combinations were
    left out because they are no rule (fast above slow).
    """

    rule: type[BaseRule]
    params: Columns
    skipped: int

    def __len__(self) -> int:
        return len(next(iter(self.params.values())))

    @cached_property
    def needed(self) -> NDArray[np.int64]:
        """The bars that each combination needs before its first signal, (m,)."""
        if issubclass(self.rule, ConditionRule):
            return np.broadcast_to(self.rule.bars_needed(self.params), len(self)).astype(np.int64)
        return np.array([self.rule_at(row).warm_up for row in range(len(self))])

    def rule_at(self, row: int) -> BaseRule:
        """The rule of one combination."""
        return self.rule(**{name: values[row].item() for name, values in self.params.items()})


def grid(rule: type[BaseRule], asked: Mapping[str, object], most: int = MOST_COMBINATIONS) -> Grid:
    """Every combination of the values asked for, the other parameters as by default; raises InvalidRule.

    A parameter's values are a number, a list of numbers, or a text: `start:stop:step` with both ends, or
    `start:stop:xFACTOR`, each the one before times the factor, such as 5:320:x2.
    """
    known = {parameter.name: parameter for parameter in rule.metadata.parameters}
    if not asked:
        raise InvalidRule("A search needs values for at least one of {names}.", names=", ".join(known) or "none")
    for name in asked:
        if name not in known:
            refuse_unknown(name, rule.metadata)
    values = {
        name: _values(parameter, asked[name], most, rule.metadata.name) if name in asked else [parameter.default]
        for name, parameter in known.items()
    }
    count = math.prod(len(each) for each in values.values())
    if count > most:
        raise InvalidRule("The grid has {count} combinations, at most {most} are allowed.", count=count, most=most)
    mesh = np.meshgrid(*(np.array(each) for each in values.values()), indexing="ij")
    every = {name: each.ravel() for name, each in zip(values, mesh, strict=True)}
    valid = _valid(rule, every)
    if not valid.any():
        raise InvalidRule(
            "None of the {count} combinations is a rule: {why}", count=count, why=_refusal(rule, every, 0)
        )
    return Grid(rule, {name: each[valid] for name, each in every.items()}, int(np.count_nonzero(~valid)))


def _values(parameter: Parameter, asked: object, most: int, rule: str) -> list[int | float]:
    """Each of them once, in the order given."""
    if isinstance(asked, str):
        found: Sequence[object] = _written(parameter, asked, most)
    else:
        found = asked if isinstance(asked, list | tuple) else [asked]
    if not found:
        raise InvalidRule("{name}: the list of values is empty.", name=parameter.name)
    return list(dict.fromkeys(parameter.checked(value, rule) for value in found))


def _written(parameter: Parameter, text: str, most: int) -> list[int | float]:
    """The numbers of `5,10,20`, `5:50:5` or `5:320:x2`, computed in decimals: 0.1 stays 0.1."""
    start, *rest = text.split(":")
    try:
        if not rest:
            return [_number(_decimal(each)) for each in text.split(",")]
        stop, step = [*rest, "1"][:2] if len(rest) < 3 else ("", "")
        ends = _decimal(start), _decimal(stop)
        if step.startswith("x"):
            return _geometric(parameter, *ends, _decimal(step[1:]), most)
        return _linear(parameter.name, *ends, _decimal(step), most)
    except ArithmeticError:
        template = "{name}: values are written 5,10,20 or start:stop:step or start:stop:xFACTOR, got {text}."
        raise InvalidRule(template, name=parameter.name, text=text[:40]) from None


def _linear(name: str, start: Decimal, stop: Decimal, step: Decimal, most: int) -> list[int | float]:
    if step == 0 or (stop - start) * step < 0:
        template = "{name}: a step of {step} never leads from {start} to {stop}."
        raise InvalidRule(template, name=name, step=step, start=start, stop=stop)
    if (stop - start) / step >= most:
        raise InvalidRule("{name} has over {most} values; use a larger step.", name=name, most=most)
    return [_number(start + i * step) for i in range(int((stop - start) / step) + 1)]


def _geometric(parameter: Parameter, start: Decimal, stop: Decimal, factor: Decimal, most: int) -> list[int | float]:
    """Rounded where the parameter is a whole number, and never above the stop."""
    if factor <= 1 or not 0 < start <= stop:
        template = "{name}: {start}:{stop}:x{factor} needs a factor above 1 and a start above 0 and below the stop."
        raise InvalidRule(template, name=parameter.name, start=start, stop=stop, factor=factor)
    if stop > start * factor ** min(most, 10**6):
        raise InvalidRule("{name} has over {most} values; use a larger factor.", name=parameter.name, most=most)
    found = []
    while start <= stop:
        found.append(round(start) if parameter.whole else round(start, MAX_DECIMALS))
        start *= factor
    return [_number(value) for value in found if value <= stop]


def _decimal(text: str) -> Decimal:
    value = Decimal(text.strip())
    if not abs(value) < LARGEST:  # NaN is refused here too
        raise InvalidOperation
    return value


def _number(value: Decimal | int) -> int | float:
    return int(value) if value == int(value) else float(value)


def _valid(rule: type[BaseRule], every: Columns) -> NDArray[np.bool_]:
    """Which combinations are rules. Only a rule that checks more than its metadata is asked one by one."""
    valid = np.ones(len(next(iter(every.values()))), dtype=bool)
    for smaller, larger in rule.metadata.ascending:
        valid &= every[smaller] < every[larger]
    if rule.__init__ is not BaseRule.__init__:
        for row in np.flatnonzero(valid):
            valid[row] = _refusal(rule, every, int(row)) == ""
    return valid


def _refusal(rule: type[BaseRule], every: Columns, row: int) -> str:
    try:
        rule(**{name: values[row].item() for name, values in every.items()})
    except InvalidRule as error:
        return str(error)
    return ""


@dataclass(frozen=True)
class SearchTable:
    """What each combination came to: for every metric an array of shape (m,), NaN where it is undefined."""

    grid: Grid
    metrics: Columns
    metric: str

    def order(self) -> NDArray[np.int64]:
        """Rows, best first by the metric; equal ones in the order of their parameters. Who never traded comes after all
        who did (doing nothing has the least drawdown), undefined ones are last."""
        return np.lexsort((self._losses, self._idle, np.isnan(self._losses)))

    def ranks(self) -> NDArray[np.int64]:
        """1 is the best, equal ones share theirs, and so do all who never traded or are undefined: the last."""
        losses = np.where(self._idle | np.isnan(self._losses), np.inf, self._losses)
        return 1 + np.searchsorted(np.sort(losses), losses)

    @property
    def _losses(self) -> NDArray[np.float64]:
        score = self.metrics[self.metric]
        return np.asarray(score if self.metric in LESS_IS_BETTER else -score)

    @property
    def _idle(self) -> NDArray[np.bool_]:
        return np.asarray(self.metrics.get("num_trades", np.ones(len(self.grid))) == 0)

    @property
    def best(self) -> int:
        """The best row; raises InvalidRule where the metric is undefined in every row."""
        best = int(self.order()[0])
        if np.isnan(self.metrics[self.metric][best]):
            raise InvalidRule("{metric} is undefined for every combination.", metric=self.metric)
        return best

    def neighbours(self) -> NDArray[np.int64]:
        """Rows that differ from the best by one step at most in each parameter: a good best stands among good ones."""
        steps = np.stack([np.unique(values, return_inverse=True)[1] for values in self.grid.params.values()])
        return np.flatnonzero(np.abs(steps - steps[:, [self.best]]).max(axis=0) == 1)

    def beside(self) -> tuple[int, float, float]:
        """How many neighbours there are, and what they have on average and at worst: NaN where none has the metric."""
        scores = self.metrics[self.metric][self.neighbours()]
        known = scores[~np.isnan(scores)]
        if not len(known):
            return len(scores), math.nan, math.nan
        worst = known.max() if self.metric in LESS_IS_BETTER else known.min()
        return len(scores), float(known.mean()), float(worst)


def joined(parts: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """The rows of some parts, one part after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class ParameterOptimizer:
    """Evaluates every combination of a grid, chunk by chunk, and finds the best.

    `evaluate` gets the parameters as arrays of shape (m,) and yields the metrics of the next rows, as many as it likes
    at once. `progress(done, all)` is called after each; what it raises ends the search.
    """

    def __init__(self, evaluate: Evaluate, metric: str = "sharpe_ratio") -> None:
        self._evaluate, self._metric = evaluate, metric

    def run(self, searched: Grid, progress: Progress = lambda done, every: None) -> SearchTable:
        """The table of all combinations."""
        parts, done = [], 0
        for part in self._evaluate(searched.params):
            parts.append(part)
            done += len(next(iter(part.values())))
            progress(done, len(searched))
        return SearchTable(searched, joined(parts), self._metric)
