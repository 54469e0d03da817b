"""What the job of a run is told: its environment and its annotations, made from the run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rules.plugins import digest_of
from service.contract.request import BacktestRequest, text_from_request
from service.contract.status import FORWARD, PRICES, SWEEP
from service.launchers.launcher import Work

# The chart's network policy looks for it.
KIND_LABEL = "stock-backtest/kind"


def work_of_request(request: BacktestRequest) -> Work:
    """The work of one backtest: its worker reads the whole request from its environment."""
    return _work(request.run_id, request.ticker, request.rule_id, text_from_request(request))


def work_of_sweep(run_id: str, ticker: str, rule_id: str, shards: int) -> Work:
    """The work of one sweep: its workers read the request from the database."""
    return _work(run_id, ticker, rule_id, {"RUN_ID": run_id, "RUN_KIND": SWEEP}, shards)


def work_of_fetch(run_id: str, ticker: str, vendor: str) -> Work:
    """The work of one fetch: its worker may leave the cluster, which the label says."""
    work = _work(run_id, ticker, vendor, {"RUN_ID": run_id, "RUN_KIND": PRICES})
    return replace(work, labels={KIND_LABEL: PRICES})


def work_of_forward(run_id: str, ticker: str) -> Work:
    """The work of extending the starred runs of a ticker: its worker finds them in the database."""
    return _work(run_id, ticker, FORWARD, {"RUN_ID": run_id, "RUN_KIND": FORWARD})


def _work(
    run_id: str,
    ticker: str,
    rule_id: str,
    request: Mapping[str, str],
    shards: int | None = None,
) -> Work:
    return Work(
        run_id=run_id,
        # a worker whose rules differ from these refuses the run
        environment={**request, "RULES_DIGEST": digest_of(rule_id)},
        annotations={"stock-backtest/ticker": ticker, "stock-backtest/rule": rule_id},
        shards=shards,
    )
