"""rule_id to rule and back; the one list of rules.

NAME or NAME_number_number...: trailing numbers are the parameters in their declared order, none means the defaults.
Combinations are ALL(A,B), ANY(A,B), MAJORITY(A,B,C) of plain rule_ids.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from rules.base_rule import BaseRule, CompositeRule, InvalidRule, nearest
from rules.paper_rules import Breakout, MeanReversion, Momentum, Value
from rules.technical_rules import (
    AverageTrueRange,
    BollingerBands,
    MovingAverageConvergence,
    MovingAverageCross,
    RelativeStrength,
    TrendStrength,
    VolumeSurge,
)

MAX_RULE_ID = 200

BUILT_IN: Mapping[str, type[BaseRule]] = {
    "MA_CROSS": MovingAverageCross,
    "RSI": RelativeStrength,
    "BB": BollingerBands,
    "MACD": MovingAverageConvergence,
    "VOLUME": VolumeSurge,
    "TREND": TrendStrength,
    "ATR": AverageTrueRange,
    "MOMENTUM": Momentum,
    "VALUE": Value,
    "MEAN_REVERSION": MeanReversion,
    "BREAKOUT": Breakout,
}

_NUMBERED = re.compile(r"(?P<name>.*?)(?P<numbers>(?:_-?[0-9]{1,12}(?:\.[0-9]{1,12})?)*)", re.ASCII | re.DOTALL)
_COMPOSITE = re.compile(r"(?P<mode>[A-Za-z]+)\((?P<members>.*)\)", re.ASCII | re.DOTALL)

Rules = Mapping[str, type[BaseRule]]


def rule_from_id(rule_id: str, params: Mapping[str, object] | None = None, rules: Rules = BUILT_IN) -> BaseRule:
    """The rule that `rule_id` names, `params` overriding its numbers by name; raises InvalidRule.

    `rules` is the catalogue to look in: ours, or ours with those of plug-ins.
    """
    if len(rule_id) > MAX_RULE_ID:
        raise InvalidRule("A rule_id has at most {most} characters, got {count}.", most=MAX_RULE_ID, count=len(rule_id))
    rule = _rule(rule_id, params or {}, rules)
    if len(rule.rule_id) > MAX_RULE_ID:  # short names stand for long ones with their defaults
        raise InvalidRule("With its numbers the rule_id has more than {most} characters.", most=MAX_RULE_ID)
    return rule


def _rule(rule_id: str, params: Mapping[str, object], rules: Rules) -> BaseRule:
    composite = _COMPOSITE.fullmatch(rule_id)
    if composite is None and re.search(r"[(),]", rule_id):
        raise InvalidRule(
            "A combination is written ALL(A,B), ANY(A,B) or MAJORITY(A,B,C); got {rule}.", rule=rule_id[:60]
        )
    if composite is None:
        return _plain(rule_id, params, rules)
    if params:
        raise InvalidRule("A combination takes no params: write the numbers into its rules.")
    if "(" in composite["members"]:
        raise InvalidRule("{mode}(...) joins plain rules; combinations cannot be nested.", mode=composite["mode"])
    names = [name.strip() for name in composite["members"].split(",")]
    if "" in names:
        raise InvalidRule("{mode}(...) has an empty place between its commas.", mode=composite["mode"])
    members = [_plain(name, {}, rules) for name in names]
    return CompositeRule(composite["mode"], members)


def _plain(rule_id: str, params: Mapping[str, object], rules: Rules) -> BaseRule:
    match = _NUMBERED.fullmatch(rule_id)
    assert match is not None  # any text matches
    if match["name"] not in rules:
        _refuse_name(match["name"], rules)
    rule = rules[match["name"]]
    numbers = match["numbers"].split("_")[1:]
    names = [parameter.name for parameter in rule.metadata.parameters]
    if numbers and len(numbers) != len(names):
        example = rule().rule_id
        template = "{rule} takes {count} numbers ({names}), such as {example}; got {given}."
        values = {"rule": match["name"], "count": len(names), "names": ", ".join(names) or "none"}
        raise InvalidRule(template, **values, example=example, given=len(numbers))
    given = {name: float(text) if "." in text else int(text) for name, text in zip(names, numbers, strict=False)}
    return rule(**{**given, **params})


def _refuse_name(name: str, rules: Rules) -> None:
    meant = nearest(re.sub(r"[^A-Z_].*", "", name.upper()) or name, list(rules))
    shown = name if len(name) <= 40 else name[:37] + "..."
    if meant:
        raise InvalidRule('There is no rule "{name}". Did you mean {meant}?', name=shown, meant=rules[meant]().rule_id)
    raise InvalidRule('There is no rule "{name}". The rules are {names}.', name=shown, names=", ".join(rules))
