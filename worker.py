"""Performs one run: the request from the environment, the result into the database.

Without a database the result goes to stdout.
"""

import os
import signal

if __name__ == "__main__":
    # The first process of a container ignores signals that it does not handle, and the imports
    # take a second. A worker that is told to stop meanwhile has claimed nothing yet.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

import logging
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from scripts.config import Config, job_environment, load_config
from scripts.logger_config import run_context, set_up_logging
from service.contract.errors import UserError
from service.contract.request import FIELDS, BacktestRequest, file_stem, request_from_text
from service.contract.status import FORWARD, PRICES, SWEEP, ExitCode, Reason
from service.prices.series import UnreadablePrices
from service.worker.holding import DATABASE_PATIENCE_SECONDS, Stopped
from service.worker.run import perform
from service.worker.software import Software

logger = logging.getLogger("worker")
stopping = threading.Event()

RULES_DIGEST = "RULES_DIGEST"  # set by the controller
UNRECORDED_RUN_ID = "00000000-0000-4000-8000-000000000000"


def main() -> int:
    """Answers with an exit code of the contract (service/contract/status.py)."""
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        return perform_one()
    except Stopped:
        return ExitCode.STOPPED


def perform_one() -> int:
    """The run that the environment asks for."""
    config = load_config()
    environment = job_environment()
    # A controller has a database: one that is missing is away, not none.
    has_controller = RULES_DIGEST in environment
    if has_controller and not config.database_url:
        print("The controller has a database, and this worker knows none", file=sys.stderr)
        return ExitCode.DATABASE_AWAY
    if environment.get("RUN_KIND") == SWEEP:
        set_up_logging(config.log_level, config.log_format)
        with run_context(environment["RUN_ID"]):
            return work_on_sweep(environment, config)
    if environment.get("RUN_KIND") == PRICES:
        set_up_logging(config.log_level, config.log_format)
        with run_context(environment["RUN_ID"]):
            return fetch_prices(environment["RUN_ID"], config)
    if environment.get("RUN_KIND") == FORWARD:
        set_up_logging(config.log_level, config.log_format)
        with run_context(environment["RUN_ID"]):
            return extend_starred_runs(environment["RUN_ID"], config)
    fields = {name: environment[name.upper()] for name in FIELDS if name.upper() in environment}
    is_recorded = "run_id" in fields and (has_controller or has_database(config))
    if is_recorded:
        set_up_logging(config.log_level, config.log_format)
    else:
        # stdout is for the result
        set_up_logging("ERROR", config.log_format, sys.stderr)
    try:
        request = request_from_text({"run_id": UNRECORDED_RUN_ID, **fields})
    except UserError as error:
        print(error, file=sys.stderr)
        return ExitCode.BAD_INPUT
    with run_context(request.run_id):
        if is_recorded:
            return work(request, config, environment.get(RULES_DIGEST))
        return print_result(request, config)


def has_database(config: Config) -> bool:
    """SQLite counts once its file is there: the web or the controller made it."""
    if config.db_host:
        return True
    sqlite_path = config.database_url.removeprefix("sqlite:///")
    return bool(sqlite_path) and Path(sqlite_path).is_file()


def work(request: BacktestRequest, config: Config, expected_rules: str | None) -> int:
    """Performs the recorded run."""
    from service.store.claims import ClaimStore
    from service.store.database import connect
    from service.store.prices import PriceStore
    from service.worker.run import RunWorker

    engine = connect(config)
    worker = RunWorker(
        claims=ClaimStore(engine, config.lease_seconds, DATABASE_PATIENCE_SECONDS),
        prices=PriceStore(engine, DATABASE_PATIENCE_SECONDS),
        software=software_of(config),
        expected_rules=expected_rules,
        stopping=stopping,
    )
    return worker.work(request)


def fetch_prices(run_id: str, config: Config) -> int:
    """Gets the prices that the recorded fetch asks for."""
    from service.store.claims import ClaimStore
    from service.store.database import connect
    from service.worker.fetch import FetchWorker

    claims = ClaimStore(connect(config), config.lease_seconds, DATABASE_PATIENCE_SECONDS)
    worker = FetchWorker(
        claims=claims,
        software=software_of(config),
        stopping=stopping,
    )
    return worker.work(run_id)


def extend_starred_runs(run_id: str, config: Config) -> int:
    """Extends the starred runs of the ticker that the recorded run names."""
    from service.store.database import connect
    from service.store.forward import ForwardStore
    from service.store.prices import PriceStore
    from service.worker.forward import ForwardWorker

    engine = connect(config)
    worker = ForwardWorker(
        claims=ForwardStore(engine, config.lease_seconds, DATABASE_PATIENCE_SECONDS),
        prices=PriceStore(engine, DATABASE_PATIENCE_SECONDS),
        software=software_of(config),
        stopping=stopping,
    )
    return worker.work(run_id)


def work_on_sweep(environment: Mapping[str, str], config: Config) -> int:
    """The shard of this index, or all of them where the job has no indexes."""
    from service.store.database import connect
    from service.store.prices import PriceStore
    from service.store.shards import ShardStore
    from service.worker.sweep import SweepWorker

    engine = connect(config)
    worker = SweepWorker(
        claims=ShardStore(engine, config.lease_seconds, DATABASE_PATIENCE_SECONDS),
        prices=PriceStore(engine, DATABASE_PATIENCE_SECONDS),
        software=software_of(config),
        expected_rules=environment.get(RULES_DIGEST),
        stopping=stopping,
    )
    index = environment.get("JOB_COMPLETION_INDEX")
    return worker.work(environment["RUN_ID"], None if index is None else int(index))


def software_of(config: Config) -> Software:
    """As the image has it."""
    return Software(code_revision=config.code_revision, image=config.image)


def stop(number: int, frame: object) -> None:
    stopping.set()
    raise Stopped


def print_result(request: BacktestRequest, config: Config) -> int:
    """Performs the run on PRICES_DIR/<ticker>.csv and prints result v1."""
    # A worker of a database has its prices there, and starts sooner without the reader of files.
    from service.prices.files.reading import read_file

    folder = Path(config.prices_dir)
    ticker = request.ticker
    try:
        series = read_file(folder / f"{file_stem(ticker)}.csv", ticker).series
        benchmark = None
        if request.benchmark not in ("", series.ticker):
            ticker = request.benchmark
            benchmark = read_file(folder / f"{file_stem(ticker)}.csv", ticker).series
        result, _ = perform(request, series, software_of(config), benchmark, validate=True)
    except UnreadablePrices as error:
        path = folder / f"{file_stem(ticker)}.csv"
        print(f"No prices of {ticker} in {path}: {error}", file=sys.stderr)
        return ExitCode.NO_DATA
    except UserError as error:
        print(error, file=sys.stderr)
        lacks_data = error.code == Reason.NO_DATA
        return ExitCode.NO_DATA if lacks_data else ExitCode.BAD_INPUT
    print(result.canonical())
    return ExitCode.DONE


if __name__ == "__main__":
    sys.exit(main())
