"""The page of a completed sweep: checks in words, its walk forward, the cells of its heatmap."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rules.optimizer import LESS_IS_BETTER
from service.contract.sweep_result import SweepResult
from service.search.verdict import (
    EVEN_CHANCE,
    USUAL_CONFIDENCE,
    USUAL_SIGNIFICANCE,
    Evidence,
    percent,
)
from service.usecases.tries import TriesOfResult
from service.web.drawings import Lines, lines_over_time
from service.web.middleware.texts import text
from service.web.presentation import METRICS_BY_NAME, label_of, shown, shown_metric
from service.web.tries_page import count_of

# Columns of a table that are neither parameters nor numbers to choose a colour by
OTHERS = ("ticker", "note")
SIGNIFICANT_DIGITS = 6
MAX_NAMED = 5  # combinations in a sentence
JUDGED_BY_AN_EARLIER_RELEASE = (
    "An earlier release judged this search, and took a rising price for skill. "
    "Search again to have it judged anew."
)


@dataclass(frozen=True)
class Check:
    """One statistic of a search; `verdict` is for, against, or "" where it says neither."""

    label: str
    value: str
    verdict: str
    meaning: str


def luck(summary: Mapping[str, Any], tries: TriesOfResult | None) -> str:
    """How much of a sweep's best result is luck, as a sentence in the reader's language.

    `summary` is what a sweep's result says of one ticker, `tries` what the ledger of all tries
    says, None where it has nothing of the sweep: then the tries of the search alone count.
    """
    statistics = summary["statistics"]
    if "timing_probability" not in statistics:
        return text(JUDGED_BY_AN_EARLIER_RELEASE)
    best = summary["best"]["metrics"]
    evidence = Evidence(
        trades=best["num_trades"],
        tries=summary["tries"],
        best_pct=best["total_return_pct"],
        holding_pct=summary["buy_and_hold_pct"],
        timing=_or_nan(_timing_of(summary, tries)),
        overfitting=_or_nan(statistics["overfitting_probability"]),
        reality_check=_or_nan(statistics["reality_check_p"]),
    )
    return evidence.sentence(text, _tries_text(summary, tries))


def _timing_of(summary: Mapping[str, Any], tries: TriesOfResult | None) -> float | None:
    """The probability that the timing is more than luck, after all tries that are known."""
    if tries is not None:
        return None if math.isnan(tries.skill.timing) else tries.skill.timing
    known: float | None = summary["statistics"].get("timing_probability")
    return known


def _tries_text(summary: Mapping[str, Any], tries: TriesOfResult | None) -> str:
    return f"{summary['tries']:,}" if tries is None else count_of(tries)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def checks_of(
    result: SweepResult, summary: Mapping[str, Any], tries: TriesOfResult | None
) -> Iterator[Check]:
    """What speaks for the best combination of a ticker and what against it.

    `summary` is what the result says of the ticker; `tries` as in `luck`. A statistic that a rising
    price alone makes high has no verdict.
    """
    statistics = summary["statistics"]
    timing = _timing_of(summary, tries)
    best = summary["best"]["metrics"]
    yield Check(
        text("Against holding"),
        shown(best["total_return_pct"] - summary["buy_and_hold_pct"], "ratio"),
        _verdict(best["total_return_pct"] > summary["buy_and_hold_pct"]),
        text("Percentage points of return beyond holding the ticker: %(own)s against %(holding)s.")
        % {
            "own": shown(best["total_return_pct"], "%"),
            "holding": shown(summary["buy_and_hold_pct"], "%"),
        },
    )
    if "timing_probability" in statistics:
        yield Check(
            text("Timing beyond luck"),
            _probability(timing),
            "" if timing is None else _verdict(timing >= USUAL_CONFIDENCE),
            text(
                "Probability that being in and out at the right time is more than luck after "
                "%(tries)s tries: its returns less those of holding the same average share of the "
                "ticker."
            )
            % {"tries": _tries_text(summary, tries)},
        )
    yield from _checks_against_overfitting(summary)
    yield from _superior_check(result, summary["ticker"])
    yield from _checks_on_other_data(summary, result.metric)
    deflated = statistics["deflated_sharpe_ratio"] if tries is None else tries.skill.deflated
    values = {**statistics, "deflated_sharpe_ratio": deflated}
    for name, label, meaning in (
        (
            "deflated_sharpe_ratio",
            text("Deflated Sharpe ratio"),
            text(
                "Probability that its Sharpe ratio is above 0 after so many tries. A rising price "
                "alone makes it high."
            ),
        ),
        (
            "probabilistic_sharpe_ratio",
            text("Probabilistic Sharpe ratio"),
            text("The same probability if no other combination had been tried."),
        ),
    ):
        yield Check(label, _probability(values[name]), "", meaning)


def _checks_against_overfitting(summary: Mapping[str, Any]) -> Iterator[Check]:
    statistics = summary["statistics"]
    overfitting = statistics["overfitting_probability"]
    yield Check(
        text("Probability of overfitting"),
        _probability(overfitting),
        "" if overfitting is None else _verdict(overfitting <= EVEN_CHANCE),
        text(
            "How often the combination with the best Sharpe ratio in one half of the time is not "
            "above the median in the other half."
        ),
    )
    p_value = statistics["reality_check_p"]
    if p_value is not None:
        yield Check(
            text("Reality check"),
            f"p = {shown(p_value)}",
            _verdict(p_value <= USUAL_SIGNIFICANCE),
            text(
                "How often luck alone would beat buy and hold by as much as the combination with "
                "the largest mean return."
            ),
        )


def _superior_check(result: SweepResult, ticker: str) -> Iterator[Check]:
    """Which combinations beat holding, where a reality check was asked for."""
    superior = result.superior.get(ticker)
    if superior is None:
        return
    count = len(superior["rule_ids"])
    yield Check(
        text("Combinations better than holding"),
        f"{count:,}" if superior["is_all"] else text("{count} or more").format(count=count),
        _verdict(count > 0),
        text(
            "Combinations that beat buy and hold by more than luck, counted so that in 95 of 100 "
            "searches without skill there is none: %(names)s"
        )
        % {"names": _named(superior["rule_ids"])},
    )


def _named(rule_ids: Sequence[str]) -> str:
    """Some of them, and that there are more."""
    more = ["…"] if len(rule_ids) > MAX_NAMED else []
    return ", ".join([*rule_ids[:MAX_NAMED], *more]) or "–"


def _checks_on_other_data(summary: Mapping[str, Any], metric: str) -> Iterator[Check]:
    """Walk forward, cross-validation and the neighbours in the grid."""
    walk = summary["walk_forward"]
    if walk:
        held = walk["curve"][-1][2] - 100 if walk.get("curve") else None
        own = walk["total_return_pct"]
        yield Check(
            text("Walk forward"),
            shown(own, "%"),
            "" if held is None or own is None else _verdict(own > held),
            text(
                "Total return when each part is traded with the combination that was best before "
                "it; holding made %(holding)s in the same time."
            )
            % {"holding": shown(held, "%")},
        )
    validated = summary["cross_validation"]
    if validated:
        outside = validated["out_of_sample"]
        yield Check(
            text("Cross-validation"),
            shown(outside),
            "against" if outside is not None and outside <= 0 else "",
            text(
                "Sharpe ratio of the chosen combination on data that it was not chosen on; "
                "%(inside)s on the data that it was chosen on."
            )
            % {"inside": shown(validated["in_sample"])},
        )
    neighbours = summary["neighbours"]
    yield Check(
        text("Its neighbours"),
        shown_metric(metric, neighbours["mean"]),
        "",
        text(
            "Mean %(metric)s of the %(count)s combinations beside it, at worst %(worst)s. A good "
            "combination among bad neighbours is more likely luck."
        )
        % {
            "metric": label_of(metric),
            "count": neighbours["count"],
            "worst": shown_metric(metric, neighbours["worst"]),
        },
    )


def _verdict(is_for: bool) -> str:
    return "for" if is_for else "against"


def _probability(value: float | None) -> str:
    return "–" if value is None else percent(value)


def walk_lines(walk: Mapping[str, Any] | None) -> Lines | None:
    """Equity and buy and hold over all tests, 100 at the start; None where there is no curve."""
    if not walk or len(walk.get("curve", ())) < 2:
        return None
    days = pd.to_datetime([day for day, _, _ in walk["curve"]])
    if days[0] == days[-1]:
        return None
    curves = [pd.Series([point[place] for point in walk["curve"]], index=days) for place in (1, 2)]
    return lines_over_time(curves)


def cells_document(table: pd.DataFrame, ticker: str, parameters: Collection[str]) -> dict[str, Any]:
    """The rows of a ticker by columns, as the heatmap needs them.

    `first_row` is the number of the first of them in the whole table.
    """
    rows = table[table["ticker"] == ticker]
    names = [name for name in table.columns if name not in (*OTHERS, *parameters)]
    return {
        "ticker": ticker,
        "first_row": int(rows.index[0]) if len(rows) else 0,
        # In the order in which the rule declares them, which is that of the table.
        "parameters": [
            {"name": name, "values": rows[name].tolist()}
            for name in table.columns
            if name in parameters
        ],
        "metrics": {name: _numbers(rows[name]) for name in names},
    }


def _numbers(column: pd.Series) -> list[float | None]:
    """To six significant digits; None where there is no number."""
    values = column.astype(float).tolist()
    return [
        None if math.isnan(value) else float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values
    ]


def metrics_of_cells(table: pd.DataFrame, parameters: Collection[str]) -> list[dict[str, Any]]:
    """How the heatmap shows each number of the table, and whether less of it is better."""
    found = []
    for name in table.columns:
        if name in (*OTHERS, *parameters):
            continue
        metric = METRICS_BY_NAME.get(name)
        found.append(
            {
                "name": name,
                "label": label_of(name),
                "unit": "%" if metric is not None and metric.unit == "%" else "",
                "factor": 1 if metric is None else metric.factor,
                "less_is_better": name in LESS_IS_BETTER or name == "median_rank",
            }
        )
    return found
