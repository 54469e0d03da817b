"""Prices that the data gate lets through, and why it does not let others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.contract.errors import UserError
from service.prices.checks import check_prices
from service.prices.files.reading import PriceFile
from service.prices.finding import Finding, errors_among


class RefusedPrices(UserError):
    """Prices that are not stored (400)."""

    code = "RefusedPrices"


@dataclass(frozen=True)
class Judgement:
    """What the data gate finds in a file; `refusal` is why it is not stored, None where it is."""

    findings: tuple[Finding, ...]
    refusal: RefusedPrices | None


def judgement_of(file: PriceFile) -> Judgement:
    """Asks the data gate."""
    findings = tuple(check_prices(file.series.data))
    return Judgement(findings, _refusal(findings))


def _refusal(findings: Sequence[Finding]) -> RefusedPrices | None:
    """The first error, and how many more there are."""
    errors = errors_among(findings)
    if not errors:
        return None
    first = errors[0]
    values = {"code": first.code, "day": first.day or "-", "message": first.message}
    if len(errors) == 1:
        return RefusedPrices("{code} at {day}: {message}.", **values)
    template = "{code} at {day}: {message} (errors besides: {more})."
    return RefusedPrices(template, more=len(errors) - 1, **values)
