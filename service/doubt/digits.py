"""Numbers as they are stored: as many digits as they can be believed in."""

from __future__ import annotations

import math


def six_digits(number: float) -> float | None:
    """The number to six significant digits, None where it is not finite.

    A thousand resamples say no more, and a result has a hundred such numbers.
    """
    return float(f"{number:.6g}") if math.isfinite(number) else None
