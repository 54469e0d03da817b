"""Powers and probabilities, correctly rounded: the same bits on every processor.

The C library and NumPy compute them by other instructions on other processors, and differ in the
last digit. MPFR, by gmpy2, gives the double nearest to the true value everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import gmpy2
import numpy as np

from backtest.metrics import Floats

DOUBLE_BITS = 53
MORE_BITS = 120  # so that the last bit of a double is certain
NEWTON_STEPS = 3  # from 50 bits to more than MORE_BITS: each doubles them


def power(base: float, exponent: float) -> float:
    """base ** exponent; NaN below 0, infinity where it is too large for a double."""
    return _rounded(lambda: gmpy2.mpfr(base) ** gmpy2.mpfr(exponent), DOUBLE_BITS)


def powers(bases: Floats, exponent: float) -> Floats:
    """Each of `bases` (k,) to the same power, (k,)."""
    with gmpy2.context(precision=DOUBLE_BITS):
        wanted = gmpy2.mpfr(exponent)
        return np.array([float(gmpy2.mpfr(base) ** wanted) for base in bases.tolist()])


def normal_probability(value: float) -> float:
    """The standard normal distribution function, 0..1."""
    return _rounded(lambda: gmpy2.erfc(-gmpy2.mpfr(value) / gmpy2.sqrt(2)) / 2, MORE_BITS)


def normal_quantile(probability: float) -> float:
    """The inverse of `normal_probability`, for probabilities above 0 and below 1."""

    def refined() -> gmpy2.mpfr:
        value = gmpy2.mpfr(NormalDist().inv_cdf(probability))
        root = gmpy2.sqrt(2 * gmpy2.const_pi())
        for _ in range(NEWTON_STEPS):
            density = gmpy2.exp(-value * value / 2) / root
            value -= (gmpy2.erfc(-value / gmpy2.sqrt(2)) / 2 - probability) / density
        return value

    return _rounded(refined, MORE_BITS)


def _rounded(compute: Callable[[], gmpy2.mpfr], bits: int) -> float:
    with gmpy2.context(precision=bits):
        result = compute()
    return float(result) if not gmpy2.is_nan(result) else math.nan
