"""What users are told about a ticker without prices: how to import them into this installation."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from service.contract.errors import UnknownTicker, UserError
from service.contract.request import file_stem, is_ticker
from service.web.middleware.texts import text

NO_PRICES_YET = (
    "There are no prices yet; add some on the page Prices, or with {command} import --ticker "
    "{quoted} - < {file}."
)
IMPORT_BY_COMMAND = (
    'There are no prices of "{ticker}". Nearest are {near}; add others on the page Prices, or with'
    " {command} --tickers {quoted} (Yahoo Finance)."
)
IMPORT_IN_CLUSTER = (
    'There are no prices of "{ticker}". Nearest are {near}; add others on the page Prices, or by'
    " the chart's value prices.tickers (Yahoo Finance)."
)

NO_SUCH_NAME = (
    'No ticker has the name "{ticker}". Add its prices on the page Prices, and this name with them.'
)
NEAR_NAMES = (
    'No ticker has the name "{ticker}". Nearest are {near}; add others on the page Prices, with '
    "their names."
)


def missing_ticker(error: UserError | None) -> str:
    """The ticker whose prices are missing, "" where none is."""
    return error.ticker if isinstance(error, UnknownTicker) else ""


@dataclass(frozen=True)
class PriceImport:
    """How prices are imported: the command, and whether it runs in a cluster.

    In a cluster only the chart's CronJob reaches Yahoo Finance, the command in a pod does not.
    """

    command: str = "python scripts/data_loader.py"
    in_cluster: bool = False

    def sentence(self, error: UnknownTicker) -> str:
        """What is missing and how to import it, in the reader's language."""
        near = ", ".join(error.near)
        return text(self._template(error)).format(
            ticker=error.ticker,
            near=near,
            command=self.command,
            quoted=shlex.quote(error.ticker),
            file=shlex.quote(f"{file_stem(error.ticker)}.csv"),
        )

    def _template(self, error: UnknownTicker) -> str:
        if not is_ticker(error.ticker):
            return NEAR_NAMES if error.near else NO_SUCH_NAME
        if not error.near:
            return NO_PRICES_YET
        return IMPORT_IN_CLUSTER if self.in_cluster else IMPORT_BY_COMMAND
