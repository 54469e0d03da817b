"""What the rows of a search came to: what a shard stores, and what a sweep is judged by."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backtest.metrics import Floats
from service.doubt.reality_check import Contenders
from service.search.folds import PARTS_OF_VALIDATION_FOLD
from service.trials.records import SKETCH_NUMBERS

Ints = NDArray[np.int64]

OVERFITTING_BLOCKS = 10  # of time, for the probability of overfitting: 252 ways to halve them
TIMING_RATIOS = 1
TRIAL = 1 + SKETCH_NUMBERS // 8  # a key, and a sketch of a byte a number
NO_KEY = -1
MISSING = {"keys": NO_KEY, "sketches": 0}
METRIC_PREFIX = "metric/"
REALITY_CHECK_PREFIX = "reality_check/"
CONTENDERS_PREFIX = "contenders/"


class UnreadableNumbers(Exception):
    """The stored numbers are those of another release, which names its arrays otherwise."""


@dataclass(frozen=True)
class SearchNumbers:
    """What k rows of a search came to.

    `metrics` has (k,) under each name, NaN where a metric is undefined. `timing_ratios` (k,) are
    `luck.timing_ratios` against buy and hold. The sums of the returns and of their squares are
    (k, OVERFITTING_BLOCKS) in the blocks of the probability of overfitting, and (k, folds, 3) in
    the parts of each fold of the cross-validation. `training_scores`, the metric in each training
    of the walk forward, and `training_growths`, end / start of it, are (k, folds).
    `keys` (k,) name the trials and `sketches` (k, 32) describe a sample of them, as in
    `service.trials`. By ticker `reality_checks` has `RealityCheck.largest`, of these rows together,
    and `contenders` what `RealityCheck.contenders` has of each part of them.
    """

    metrics: Mapping[str, Floats]
    timing_ratios: Floats
    keys: Ints
    sketches: NDArray[np.int8]
    overfitting_sums: Floats
    overfitting_squares: Floats
    validation_sums: Floats
    validation_squares: Floats
    training_scores: Floats
    training_growths: Floats
    reality_checks: Mapping[str, Floats]
    contenders: Mapping[str, Contenders] = field(default_factory=dict)

    @property
    def has_traded(self) -> NDArray[np.bool_]:
        """Which rows were tried and traded, (k,): all others are in no statistic."""
        return self.metrics["num_trades"] > 0

    def row_arrays(self) -> dict[str, NDArray[Any]]:
        """Every array whose first axis are the rows, by name."""
        return {
            **_prefixed(METRIC_PREFIX, self.metrics),
            "timing_ratios": self.timing_ratios,
            "keys": self.keys,
            "sketches": self.sketches,
            "overfitting_sums": self.overfitting_sums,
            "overfitting_squares": self.overfitting_squares,
            "validation_sums": self.validation_sums,
            "validation_squares": self.validation_squares,
            "training_scores": self.training_scores,
            "training_growths": self.training_growths,
        }

    def rows(self, rows: slice) -> SearchNumbers:
        """Some of the rows, with all reality checks."""
        arrays = {name: values[rows] for name, values in self.row_arrays().items()}
        return _from_arrays(arrays, self.reality_checks, self.contenders)

    def to_bytes(self) -> bytes:
        """As NumPy's npz."""
        arrays = {
            **self.row_arrays(),
            **_prefixed(REALITY_CHECK_PREFIX, self.reality_checks),
            **_prefixed(CONTENDERS_PREFIX, self.contenders),
        }
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> SearchNumbers:
        """The inverse of `to_bytes`; raises UnreadableNumbers."""
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        try:
            return _from_arrays(
                arrays,
                _without_prefix(REALITY_CHECK_PREFIX, arrays),
                _without_prefix(CONTENDERS_PREFIX, arrays),
            )
        except KeyError as error:
            raise UnreadableNumbers(f"they lack {error}") from None


def numbers_per_row(metrics: int, folds: int) -> int:
    """How many floats a row of SearchNumbers has."""
    overfitting = 2 * OVERFITTING_BLOCKS
    validation = 2 * PARTS_OF_VALIDATION_FOLD * folds
    training = 2 * folds
    return metrics + TIMING_RATIOS + TRIAL + overfitting + validation + training


def joined_numbers(parts: Mapping[int, SearchNumbers], row_count: int) -> SearchNumbers:
    """`row_count` rows from parts, which stand under the number of their first row.

    Rows of no part are rows that were not tried: sums of 0, no key, NaN in all else.
    """
    template = next(iter(parts.values())).row_arrays()
    arrays = {}
    for name, values in template.items():
        missing = 0.0 if name.endswith(("_sums", "_squares")) else MISSING.get(name, np.nan)
        arrays[name] = np.full((row_count, *values.shape[1:]), missing, values.dtype)
    reality_checks: dict[str, Floats] = {}
    contenders: dict[str, Contenders] = {}
    for first_row, part in parts.items():
        for name, values in part.row_arrays().items():
            arrays[name][first_row : first_row + len(values)] = values
        for ticker, largest in part.reality_checks.items():
            so_far = reality_checks.get(ticker, largest)
            reality_checks[ticker] = np.maximum(so_far, largest)
        for ticker, rows in part.contenders.items():
            contenders[ticker] = np.concatenate([contenders.get(ticker, rows[:0]), rows])
    return _from_arrays(arrays, reality_checks, contenders)


def _from_arrays(
    arrays: Mapping[str, NDArray[Any]],
    reality_checks: Mapping[str, Floats],
    contenders: Mapping[str, Contenders],
) -> SearchNumbers:
    return SearchNumbers(
        metrics=_without_prefix(METRIC_PREFIX, arrays),
        timing_ratios=arrays["timing_ratios"],
        keys=arrays["keys"],
        sketches=arrays["sketches"],
        overfitting_sums=arrays["overfitting_sums"],
        overfitting_squares=arrays["overfitting_squares"],
        validation_sums=arrays["validation_sums"],
        validation_squares=arrays["validation_squares"],
        training_scores=arrays["training_scores"],
        training_growths=arrays["training_growths"],
        reality_checks=reality_checks,
        contenders=contenders,
    )


def _prefixed(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {prefix + name: values for name, values in arrays.items()}


def _without_prefix(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): values
        for name, values in arrays.items()
        if name.startswith(prefix)
    }
