"""Search a rule's parameters on the prices of one ticker: a table of the best, and how much of it is luck.

    python -m scripts.sweep GOOG MA_CROSS --grid fast=5:50:5 --grid slow=20:200:10
    python -m scripts.sweep my/PRICES.csv RSI --grid period=7,14,21 --grid oversold=10:40:5 --metric calmar_ratio

Values: 5,10,20 or start:stop:step (both ends) or start:stop:xFACTOR. Prices are those of PRICES_DIR (data/), or of a
CSV file. Exit code 0: done; 64: the search is wrong; 65: its prices are.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from backtest.kernel import Terms
from rules.base_rule import InvalidRule
from rules.plugins import installed_rules
from rules.registry import rule_from_id
from scripts.config import load_config
from service.contract.errors import UserError
from service.contract.status import ExitCode
from service.cross_validation import CrossValidation, cross_validate
from service.engine_adapter import refuse_errors, window
from service.price_checks import check_prices
from service.price_series import PriceSeries, UnreadablePrices, read_csv
from service.sweeps import Sweep, sweep
from service.walk_forward import WalkForward, walk_forward


def series_of(name: str) -> PriceSeries:
    """A CSV file where the name ends so, else the ticker's in PRICES_DIR; raises UnreadablePrices."""
    path = Path(name) if name.lower().endswith(".csv") else Path(load_config().prices_dir) / f"{name}.csv"
    try:
        return read_csv(path, path.stem.upper(), source=path.name)
    except UnreadablePrices as error:
        raise UnreadablePrices(f"No prices of {name} in {path}: {error}") from None


def searched(given: argparse.Namespace) -> tuple[Sweep, WalkForward | None, CrossValidation | None]:
    """What the command line asks for, with a progress bar where somebody looks."""
    series = series_of(given.prices)
    refuse_errors(check_prices(series.data), series)
    data = window(series, given.start, given.end)
    rule = type(rule_from_id(given.rule, rules=installed_rules(validate=True)))
    asked = dict(text.partition("=")[::2] for text in given.grid)
    terms = Terms(given.capital, given.commission, given.slippage, given.lot_size, given.allow_short)
    with tqdm(unit="runs", disable=None, leave=False) as bar:

        def progress(done: int, every: int) -> None:
            bar.total = every
            bar.update(done - bar.n)

        found = sweep(data, rule, asked, terms, given.metric, progress=progress, reality_check=given.reality_check)
    if not given.folds:
        return found, None, None
    walk = walk_forward(data, rule, asked, terms, given.metric, given.folds, given.anchored)
    return found, walk, cross_validate(data, found.table.grid, terms, given.folds)


def frame(found: Sweep) -> pd.DataFrame:
    """Parameters and metrics of every combination, best first."""
    table = found.table
    columns = {**table.grid.params, **{name: each for name, each in table.metrics.items() if each.ndim == 1}}
    return pd.DataFrame(columns).iloc[table.order()]


def report(found: Sweep, top: int, seconds: float) -> str:
    """The best rows and the statistics, as text."""
    rule, every = found.table.grid.rule_at(found.table.best), len(found.table.grid)
    skipped = f", {found.table.grid.skipped} skipped as no rule" if found.table.grid.skipped else ""
    short = f", {found.too_short} of them need more bars than there are" if found.too_short else ""
    statistics = {
        "probabilistic Sharpe ratio, as if it were the only one tried": found.probabilistic_sharpe,
        "deflated Sharpe ratio": found.deflated_sharpe,
        "probability of overfitting": found.overfitting,
        "reality check against buy and hold, p": found.reality_check,
    }
    lines = [
        f"{every} combinations on {found.bars} bars in {seconds:.2f} s{skipped}{short}\n",
        frame(found).head(top).to_string(index=False, float_format="{:.4f}".format, na_rep="-"),
        f"\nbest by {found.table.metric}: {rule.rule_id}",
        *(f"{name} {value:.3f}" for name, value in statistics.items() if not np.isnan(value)),
        found.sentence,
        *neighbours(found),
    ]
    return "\n".join(lines)


def neighbours(found: Sweep) -> list[str]:
    """How those next to the best did: a peak among bad ones is more likely luck."""
    rows, metric = found.table.neighbours(), found.table.metric
    scores = found.table.metrics[metric][rows]
    if not len(rows) or np.isnan(scores).all():
        return []
    mean, lowest = np.nanmean(scores), np.nanmin(scores)
    return [f"its {len(rows)} neighbours have {metric} {mean:.4f} on average, {lowest:.4f} at least"]


def walked(found: WalkForward) -> str:
    """What each fold chose, and what trading it came to."""
    dates, result = found.result.equity.index, found.result
    first = found.folds[0].test.start
    lines = [f"  from {dates[fold.test.start - first].date()} {fold.rule.rule_id}" for fold in found.folds]
    sharpe = "undefined" if result["sharpe_ratio"] is None else f"{result['sharpe_ratio']:.4f}"
    numbers = f"return {result['total_return_pct']:.2f} %, Sharpe ratio {sharpe}, efficiency {found.efficiency:.2f}"
    return "\n".join(["\nwalk forward, each chosen on the bars before it:", *lines, f"  together: {numbers}"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("prices", metavar="TICKER_OR_CSV")
    made.add_argument("rule", metavar="RULE", help="such as MA_CROSS")
    made.add_argument("--grid", action="append", default=[], metavar="NAME=VALUES", help="once for each parameter")
    made.add_argument("--metric", default="sharpe_ratio", help="what is best (sharpe_ratio)")
    made.add_argument("--start", type=date.fromisoformat, default=date.min, metavar="YYYY-MM-DD")
    made.add_argument("--end", type=date.fromisoformat, default=date.max, metavar="YYYY-MM-DD")
    made.add_argument("--capital", type=float, default=100_000.0)
    made.add_argument("--commission", type=float, default=0.001, help="fraction of the traded value (0.001)")
    made.add_argument("--slippage", type=float, default=0.0, help="fraction of the price (0)")
    made.add_argument("--lot-size", type=float, default=0.0, help="shares; 0 for fractional ones (0)")
    made.add_argument("--allow-short", action="store_true")
    made.add_argument("--reality-check", action="store_true", help="is it more than luck that buy and hold is beaten?")
    made.add_argument("--folds", type=int, default=0, help="walk forward, and cross-validate, in so many (0)")
    made.add_argument("--anchored", action="store_true", help="each training begins with the first")
    made.add_argument("--top", type=int, default=10, help="rows to show (10)")
    made.add_argument("--csv", type=Path, help="write the whole table to this file")
    return made


def main(words: Sequence[str]) -> int:
    """Prints the report and answers with the exit code."""
    given, started = parser().parse_args(list(words)), time.perf_counter()
    try:
        found, walk, validated = searched(given)
    except (UserError, InvalidRule, UnreadablePrices) as error:
        print(error, file=sys.stderr)
        no_data = isinstance(error, UnreadablePrices) or getattr(error, "code", "") == "NoData"
        return ExitCode.NO_DATA if no_data else ExitCode.BAD_INPUT
    if given.csv:
        frame(found).to_csv(given.csv, index=False)
    print(report(found, given.top, time.perf_counter() - started))
    if walk:
        print(walked(walk))
    if validated:
        print(
            f"cross-validation: annual Sharpe ratio {validated.out_of_sample:.4f} where it was not chosen, "
            f"{validated.in_sample:.4f} where it was"
        )
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
