"""Search a rule's parameters on the prices of a ticker, or of several: a table of the best, and how much of it is luck.

    python -m scripts.sweep GOOG MA_CROSS --grid fast=5:50:5 --grid slow=20:200:10
    python -m scripts.sweep GOOG,SPY,AAPL MOMENTUM --grid lookback=20:250:10
    python -m scripts.sweep my/PRICES.csv RSI --grid period=7,14,21 --grid oversold=10:40:5 --metric calmar_ratio

Values: 5,10,20 or start:stop:step (both ends) or start:stop:xFACTOR. Prices are those of PRICES_DIR (data/), or of a
CSV file. Exit code 0: done; 64: the search is wrong; 65: its prices are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from backtest.kernel import Terms
from rules.base_rule import BaseRule, CompositeRule, InvalidRule
from rules.optimizer import MOST_COMBINATIONS, grid
from rules.plugins import installed_rules
from rules.registry import rule_from_id
from scripts.config import load_config
from service.contract.errors import UserError
from service.contract.status import ExitCode
from service.engine.adapter import refuse_errors, window
from service.prices.checks import check_prices
from service.prices.series import PriceSeries, UnreadablePrices, read_csv
from service.search.cross_validation import cross_validate
from service.search.search import Sweep, across, sweep
from service.search.walk_forward import WalkForward, walk_forward


def series_of(name: str) -> PriceSeries:
    """A CSV file where the name ends so, else the ticker's in PRICES_DIR; raises UnreadablePrices."""
    path = (
        Path(name)
        if name.lower().endswith(".csv")
        else Path(load_config().prices_dir) / f"{name}.csv"
    )
    try:
        return read_csv(path, path.stem.upper(), source=path.name)
    except UnreadablePrices as error:
        raise UnreadablePrices(f"No prices of {name} in {path}: {error}") from None


@dataclass(frozen=True)
class Search:
    """What the command line asks for: the rule, the values of its parameters, and the terms."""

    given: argparse.Namespace
    rule: type[BaseRule]
    asked: Mapping[str, object]
    terms: Terms

    @classmethod
    def of(cls, given: argparse.Namespace) -> Search:
        """Raises InvalidRule. Numbers in the rule's name stand where `--grid` says nothing."""
        rule = rule_from_id(given.rule, rules=installed_rules(validate=True))
        if isinstance(rule, CompositeRule):
            raise InvalidRule("A search takes one rule by its name, such as MA_CROSS.")
        asked = dict(text.partition("=")[::2] for text in given.grid)
        if given.csv and not given.csv.absolute().parent.is_dir():
            raise InvalidRule("There is no directory for {name}; make it first.", name=given.csv)
        if len(asked) < len(given.grid):
            raise InvalidRule("--grid names a parameter twice; several values are written 5,10,20.")
        terms = Terms(
            given.capital, given.commission, given.slippage, given.lot_size, given.allow_short
        )
        return cls(given, type(rule), {**rule.params, **asked} if asked else {}, terms)

    def data_of(self, name: str) -> pd.DataFrame:
        """The bars of its dates; raises NoData or UnreadablePrices."""
        series = series_of(name)
        refuse_errors(check_prices(series.data), series)
        return window(series, self.given.start, self.given.end)

    def sweep(self, data: pd.DataFrame) -> Sweep:
        """With a progress bar where somebody looks."""
        with tqdm(unit="runs", disable=None, leave=False) as bar:

            def progress(done: int, every: int) -> None:
                bar.total = every
                bar.update(done - bar.n)

            given = self.given
            return sweep(
                data,
                self.rule,
                self.asked,
                self.terms,
                given.metric,
                MOST_COMBINATIONS,
                progress,
                given.reality_check,
            )

    def folds(self, data: pd.DataFrame) -> str:
        """The walk forward and the cross-validation, as text."""
        given = self.given
        searched = grid(self.rule, self.asked)
        walk = walk_forward(data, searched, self.terms, given.metric, given.folds, given.anchored)
        validated = cross_validate(data, searched, self.terms, given.folds)
        inside, outside = validated.in_sample, validated.out_of_sample
        said = (
            f"annual Sharpe ratio {outside:.4f} where it was not chosen, {inside:.4f} where it was"
        )
        return f"{walked(walk)}\ncross-validation: {said}"


def frame(found: Sweep) -> pd.DataFrame:
    """Parameters and metrics of every combination, best first."""
    table = found.table
    columns = {
        **table.grid.params,
        **{name: each for name, each in table.metrics.items() if each.ndim == 1},
    }
    return pd.DataFrame(columns).iloc[table.order()]


def report(found: Sweep, top: int, seconds: float) -> str:
    """The best rows and the statistics, as text."""
    rule, every = found.table.grid.rule_at(found.table.best), len(found.table.grid)
    skipped = f", {found.table.grid.skipped} skipped as no rule" if found.table.grid.skipped else ""
    short = f", {found.too_short} of them need more bars than there are" if found.too_short else ""
    without = f", {found.undefined} have none and come last" if found.undefined else ""
    statistics = {
        "probabilistic Sharpe ratio, as if it were the only one tried": found.probabilistic_sharpe,
        "deflated Sharpe ratio": found.deflated_sharpe,
        "probability of overfitting": found.overfitting,
        "reality check against buy and hold, p": found.reality_check,
    }
    lines = [
        f"{every} combinations on {found.bars} bars in {seconds:.2f} s{skipped}{short}\n",
        frame(found).head(top).to_string(index=False, float_format="{:.4f}".format, na_rep="-"),
        f"\nbest by {found.table.metric}: {rule.rule_id}{without}",
        *(f"{name} {value:.3f}" for name, value in statistics.items() if not np.isnan(value)),
        found.sentence,
        *neighbours(found),
    ]
    return "\n".join(lines)


def neighbours(found: Sweep) -> list[str]:
    """How those next to the best did: a peak among bad ones is more likely luck."""
    count, mean, worst = found.table.beside()
    if np.isnan(mean):
        return []
    return [
        f"its {count} neighbours have {found.table.metric} {mean:.4f} on average, {worst:.4f} at worst"
    ]


def walked(found: WalkForward) -> str:
    """What each fold chose, and what trading it came to."""
    dates, result = found.result.equity.index, found.result
    first = found.folds[0].test.start
    lines = [
        f"  from {dates[fold.test.start - first].date()} {fold.rule.rule_id}"
        for fold in found.folds
    ]
    sharpe = "undefined" if result["sharpe_ratio"] is None else f"{result['sharpe_ratio']:.4f}"
    numbers = f"return {result['total_return_pct']:.2f} %, Sharpe ratio {sharpe}, efficiency {found.efficiency:.2f}"
    return "\n".join(
        ["\nwalk forward, each chosen on the bars before it:", *lines, f"  together: {numbers}"]
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("prices", metavar="TICKERS_OR_CSVS", help="one, or several with commas")
    made.add_argument("rule", metavar="RULE", help="such as MA_CROSS")
    made.add_argument(
        "--grid", action="append", default=[], metavar="NAME=VALUES", help="once for each parameter"
    )
    made.add_argument("--metric", default="sharpe_ratio", help="what is best (sharpe_ratio)")
    made.add_argument("--start", type=date.fromisoformat, default=date.min, metavar="YYYY-MM-DD")
    made.add_argument("--end", type=date.fromisoformat, default=date.max, metavar="YYYY-MM-DD")
    made.add_argument("--capital", type=float, default=100_000.0)
    made.add_argument(
        "--commission", type=float, default=0.001, help="fraction of the traded value (0.001)"
    )
    made.add_argument("--slippage", type=float, default=0.0, help="fraction of the price (0)")
    made.add_argument(
        "--lot-size", type=float, default=0.0, help="shares; 0 for fractional ones (0)"
    )
    made.add_argument("--allow-short", action="store_true")
    made.add_argument(
        "--reality-check",
        action="store_true",
        help="is it more than luck that buy and hold is beaten?",
    )
    made.add_argument(
        "--folds", type=int, default=0, help="walk forward, and cross-validate, in so many (0)"
    )
    made.add_argument("--anchored", action="store_true", help="each training begins with the first")
    made.add_argument("--top", type=int, default=10, help="rows to show (10)")
    made.add_argument("--csv", type=Path, help="write the whole table to this file")
    return made


def together(names: Sequence[str], found: Sequence[Sweep], top: int) -> str:
    """The combinations that did best over all tickers."""
    ranks, beats = across(found)
    table = pd.DataFrame(
        {**found[0].table.grid.params, "median rank": ranks, "share above buy and hold": beats}
    )
    best = table.sort_values("median rank", kind="stable").head(top)
    return f"\nacross {', '.join(names)}\n\n{best.to_string(index=False, float_format='{:.2f}'.format)}"


def run(search: Search, started: float) -> None:
    """Prints the report of each ticker, and of all of them together."""
    given, found = search.given, []
    names = given.prices.split(",")
    for name in names:
        data = search.data_of(name)
        found.append(search.sweep(data))
        print(f"{name}: {report(found[-1], given.top, time.perf_counter() - started)}")
        if given.folds:
            print(search.folds(data))
    if given.csv:
        pd.concat(
            [frame(each).assign(prices=name) for name, each in zip(names, found, strict=True)]
        ).to_csv(given.csv, index=False)
    if len(names) > 1:
        print(together(names, found, given.top))


def main(words: Sequence[str]) -> int:
    """Prints the reports and answers with the exit code."""
    started = time.perf_counter()
    try:
        run(Search.of(parser().parse_args(list(words))), started)
    except (UserError, InvalidRule, UnreadablePrices) as error:
        print(error, file=sys.stderr)
        no_data = isinstance(error, UnreadablePrices) or getattr(error, "code", "") == "NoData"
        return ExitCode.NO_DATA if no_data else ExitCode.BAD_INPUT
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
