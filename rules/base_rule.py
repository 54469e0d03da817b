"""What a rule is: parameters filled in, prices to signals, a text form that leads back to the same rule."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches
from enum import IntEnum
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rules.features import Features

Mask = NDArray[np.bool_]

MAX_DECIMALS = 12  # of a parameter: it must have a rule_id that people can write


class Signal(IntEnum):
    """What a rule asks for after a bar's close: BUY be long, SELL be flat (or short), HOLD keep."""

    SELL = -1
    HOLD = 0
    BUY = 1


class InvalidRule(ValueError):
    """A rule_id or a parameter that names no rule; one sentence says how to mend it.

    `template` is the sentence with {names}, `values` fill it, so that it can be translated.
    """

    def __init__(self, template: str, **values: object) -> None:
        self.template, self.values = template, values
        super().__init__(template.format(**values))


@dataclass(frozen=True)
class Parameter:
    """One number of a rule; whole where the default is an int. `low` and `high` are inclusive."""

    name: str
    default: int | float
    low: int | float
    high: int | float
    meaning: str

    @property
    def whole(self) -> bool:
        return isinstance(self.default, int)

    def checked(self, value: object, rule: str) -> int | float:
        """The value as the rule uses it; raises InvalidRule naming rule and parameter."""
        where = {"rule": rule, "name": self.name, "value": _shown(value)}
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InvalidRule("{rule}: {name} must be a number, got {value}.", **where)
        if not self.low <= value <= self.high:  # NaN is refused here too
            bounds = {"low": number_text(self.low), "high": number_text(self.high)}
            raise InvalidRule("{rule}: {name} must be between {low} and {high}, got {value}.", **where, **bounds)
        if self.whole and value != int(value):
            raise InvalidRule("{rule}: {name} must be a whole number, got {value}.", **where)
        if len(number_text(value).partition(".")[2]) > MAX_DECIMALS:
            raise InvalidRule("{rule}: {name} has at most {most} decimals, got {value}.", most=MAX_DECIMALS, **where)
        return int(value) if self.whole else float(value) + 0.0  # no -0.0: it reads back as 0


@dataclass(frozen=True)
class RuleMetadata:
    """What people read about a rule, and what its parameters may be.

    `name` is the first part of the rule_id; `ascending` lists pairs of parameters of which the first must be smaller.
    """

    name: str
    summary: str
    source: str
    parameters: tuple[Parameter, ...]
    ascending: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Line:
    """A line that a chart draws for a rule: `values` of each bar, NaN where there is none.

    It stands on the scale of the prices, or on that of all the lines which name the same `scale`.
    """

    name: str
    values: NDArray[np.float64]
    scale: str = ""


class BaseRule(ABC):
    """A trading rule with its parameters filled in: `MyRule(period=20)`, the rest as by default.

    Subclasses set `metadata` and say `warm_up` and `generate_signals`; `params` holds every parameter by name.
    """

    metadata: ClassVar[RuleMetadata]

    def __init__(self, /, **params: object) -> None:
        known = {parameter.name: parameter for parameter in self.metadata.parameters}
        for name in params:
            if name not in known:
                refuse_unknown(name, self.metadata)
        self.params: Mapping[str, Any] = MappingProxyType(
            {name: known[name].checked(params.get(name, known[name].default), self.metadata.name) for name in known}
        )
        for smaller, larger in self.metadata.ascending:
            if self.params[smaller] >= self.params[larger]:
                _refuse_order(self.metadata.name, smaller, larger, self.params)

    @property
    @abstractmethod
    def warm_up(self) -> int:
        """How many bars the first signal needs; every signal before is HOLD."""

    @abstractmethod
    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        """One Signal per bar of `data` (columns Open High Low Close Volume), each from that bar and those before it."""

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        """What charts draw of the rule beside the prices: none, unless the rule says more."""
        return ()

    @property
    def rule_id(self) -> str:
        """NAME_number_number..., the parameters in their declared order."""
        return "_".join([self.metadata.name, *(number_text(value) for value in self.params.values())])


class ConditionRule(BaseRule):
    """A rule made of two conditions on each bar, which a search can ask of thousands of parameters at once.

    `bars_needed` and `conditions` get the parameters as numbers, or as arrays of shape (k, 1) for k rules at once.
    """

    @classmethod
    @abstractmethod
    def bars_needed(cls, p: Mapping[str, Any]) -> Any:
        """The `warm_up` of each."""

    @classmethod
    @abstractmethod
    def conditions(cls, prices: Features, p: Mapping[str, Any]) -> tuple[Mask, Mask]:
        """Where to BUY and where to SELL, each (n,) or (k, n); where both are true it is SELL."""

    @property
    def warm_up(self) -> int:
        return int(self.bars_needed(self.params))

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        return signals(data, *self.conditions(Features(data), self.params))


class CompositeRule(BaseRule):
    """Several rules voting with their positions: each is long from its BUY to its SELL.

    Buys where all, any or more than half of them become long, sells where that ends. The definition is our own.
    """

    MODES: ClassVar[tuple[str, ...]] = ("ALL", "ANY", "MAJORITY")
    MAX_MEMBERS: ClassVar[int] = 8

    def __init__(self, mode: str, members: Sequence[BaseRule]) -> None:
        if mode not in self.MODES:
            raise InvalidRule("A combination is one of {modes}, got {mode}.", modes=", ".join(self.MODES), mode=mode)
        if not 2 <= len(members) <= self.MAX_MEMBERS:
            template = "{mode}(...) joins 2 to {most} rules, got {count}."
            raise InvalidRule(template, mode=mode, most=self.MAX_MEMBERS, count=len(members))
        if any(isinstance(member, CompositeRule) for member in members):
            raise InvalidRule("{mode}(...) joins plain rules; combinations cannot be nested.", mode=mode)
        self.mode, self.members = mode, tuple(members)
        self.params = MappingProxyType({})

    @property
    def warm_up(self) -> int:
        return max(member.warm_up for member in self.members)

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        votes = np.sum([is_long(member.generate_signals(data)) for member in self.members], axis=0)
        needed = {"ALL": len(self.members), "ANY": 1, "MAJORITY": len(self.members) // 2 + 1}[self.mode]
        change = np.diff((votes >= needed).astype(np.int8), prepend=0)
        return signals(data, buy=change > 0, sell=change < 0)

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        return [line for member in self.members for line in member.lines(data)]

    @property
    def rule_id(self) -> str:
        return f"{self.mode}({','.join(member.rule_id for member in self.members)})"


def signals(data: pd.DataFrame, buy: Mask, sell: Mask) -> pd.Series:
    """BUY and SELL where the masks say so, SELL where both do, HOLD elsewhere, on the index of `data`."""
    values = np.where(sell, Signal.SELL, np.where(buy, Signal.BUY, Signal.HOLD)).astype(np.int8)
    return pd.Series(values, index=data.index, name="signal")


def is_long(given: pd.Series) -> Mask:
    """Whether the last BUY or SELL up to each bar was a BUY."""
    values = given.to_numpy()
    last = np.maximum.accumulate(np.where(values != 0, np.arange(len(values)), 0))
    return np.asarray(values[last] > 0)


def number_text(value: int | float) -> str:
    """The shortest decimal that reads back as the same number, without exponent or trailing zeros."""
    return (
        str(value) if value == int(value) and isinstance(value, int) else format(Decimal(repr(value)).normalize(), "f")
    )


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that was probably meant, else an empty string."""
    return next(iter(get_close_matches(word.upper(), known, n=1, cutoff=0.5)), "")


def refuse_unknown(name: str, metadata: RuleMetadata) -> None:
    names = [parameter.name for parameter in metadata.parameters]
    meant = next(iter(get_close_matches(name.lower(), names, n=1)), None)
    values = {"rule": metadata.name, "name": name[:40], "meant": meant, "names": ", ".join(names) or "none"}
    if meant:
        raise InvalidRule('{rule} has no parameter "{name}". Did you mean {meant}?', **values)
    raise InvalidRule('{rule} has no parameter "{name}". It has {names}.', **values)


def _refuse_order(rule: str, smaller: str, larger: str, params: Mapping[str, Any]) -> None:
    values = {"rule": rule, "smaller": smaller, "larger": larger}
    given = {"first": number_text(params[smaller]), "second": number_text(params[larger])}
    raise InvalidRule("{rule}: {smaller} must be below {larger}, got {first} and {second}.", **values, **given)


def _shown(value: object) -> str:
    """A value in an error message: short, and never an endless number."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = "a number of thousands of digits"
    return text if len(text) <= 40 else text[:37] + "..."
