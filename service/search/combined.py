"""A combination of rules as one rule with parameters of its own, so that a search can vary them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import ClassVar

import pandas as pd

from rules.base_rule import BaseRule, CompositeRule, Line, RuleMetadata


class CombinedRule(BaseRule):
    """A combination with parameters of its own: `fast_1` of its first rule, `period_2` of the next.

    Each combination of rules has a class of its own, see `combined`. Its signals, its warm-up and
    its rule_id are those of the CompositeRule.
    """

    mode: ClassVar[str]
    member_types: ClassVar[tuple[type[BaseRule], ...]]

    @cached_property
    def composite(self) -> CompositeRule:
        """The combination that it stands for."""
        members = []
        for place, member_type in enumerate(self.member_types, 1):
            names = [parameter.name for parameter in member_type.metadata.parameters]
            members.append(member_type(**{name: self.params[f"{name}_{place}"] for name in names}))
        return CompositeRule(self.mode, members)

    @property
    def warm_up(self) -> int:
        return self.composite.warm_up

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        return self.composite.generate_signals(data)

    def lines(self, data: pd.DataFrame) -> Sequence[Line]:
        return self.composite.lines(data)

    @property
    def rule_id(self) -> str:
        return self.composite.rule_id


def combined(rule: CompositeRule) -> CombinedRule:
    """The combination as one rule, with the numbers that it has."""
    own_type = _combined_type(rule.mode, tuple(type(member) for member in rule.members))
    params = {
        f"{name}_{place}": value
        for place, member in enumerate(rule.members, 1)
        for name, value in member.params.items()
    }
    return own_type(**params)


@cache
def _combined_type(mode: str, member_types: tuple[type[BaseRule], ...]) -> type[CombinedRule]:
    all_metadata = [member_type.metadata for member_type in member_types]
    metadata = RuleMetadata(
        name=f"{mode}({','.join(metadata.name for metadata in all_metadata)})",
        summary="; ".join(metadata.summary for metadata in all_metadata),
        source="; ".join(metadata.source for metadata in all_metadata),
        parameters=tuple(
            replace(parameter, name=f"{parameter.name}_{place}")
            for place, metadata in enumerate(all_metadata, 1)
            for parameter in metadata.parameters
        ),
        ascending=tuple(
            (f"{smaller}_{place}", f"{larger}_{place}")
            for place, metadata in enumerate(all_metadata, 1)
            for smaller, larger in metadata.ascending
        ),
    )
    members = {"metadata": metadata, "mode": mode, "member_types": member_types}
    return type("CombinedRule", (CombinedRule,), members)


def as_asked(rule: BaseRule) -> BaseRule:
    """The rule as a request names it: of a combined one the combination."""
    return rule.composite if isinstance(rule, CombinedRule) else rule
