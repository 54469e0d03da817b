"""Random rules, and a rule that no search can take apart."""

from __future__ import annotations

import pandas as pd
from hypothesis import strategies as st

from rules.base_rule import BaseRule, InvalidRule, Parameter, RuleMetadata, signals
from rules.registry import BUILT_IN


def parameters(rule: type[BaseRule]) -> st.SearchStrategy[dict[str, float]]:
    """Random valid parameters of a rule."""
    values = {parameter.name: _values(parameter) for parameter in rule.metadata.parameters}
    return st.fixed_dictionaries(values).filter(
        lambda drawn: all(drawn[small] < drawn[large] for small, large in rule.metadata.ascending)
    )


def _values(parameter: Parameter) -> st.SearchStrategy[float]:
    if parameter.whole:
        return st.integers(int(parameter.low), min(int(parameter.high), 120))
    return st.floats(parameter.low, parameter.high).map(lambda value: round(value, 12))


ANY_RULE = st.sampled_from(list(BUILT_IN.values())).flatmap(
    lambda rule: parameters(rule).map(lambda values: rule(**values))
)


class Fancy(BaseRule):
    """A rule of a plug-in: it has no conditions, and refuses even numbers of days."""

    metadata = RuleMetadata(
        "FANCY", "Falls.", "A test", (Parameter("days", 3, 1, 20, "Falling closes in a row"),)
    )

    def __init__(self, /, **params: object) -> None:
        super().__init__(**params)
        if self.params["days"] % 2 == 0:
            raise InvalidRule("FANCY: days must be odd, got {days}.", days=self.params["days"])

    @property
    def warm_up(self) -> int:
        return int(self.params["days"])

    def generate_signals(self, data: pd.DataFrame) -> pd.Series:
        falls = (data["Close"].diff() < 0).rolling(self.params["days"]).sum()
        return signals(
            data, buy=(falls == self.params["days"]).to_numpy(), sell=(falls == 0).to_numpy()
        )
