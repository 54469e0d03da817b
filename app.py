"""The web: `gunicorn app:app`, or `python -m flask run`."""

from functools import partial

from flask import Flask

from scripts.config import (
    Config,
    InvalidConfig,
    load_config,
    names_in_list,
    names_of_hosts,
)
from scripts.logger_config import set_up_logging
from service.store.leases import LeaseStore
from service.store.migrate import open_database, schema_problem
from service.store.prices import PriceStore
from service.store.requests import RequestStore
from service.store.room import RoomStore
from service.usecases.rules import accepted_rules
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from service.web.middleware.auth import login_of
from service.web.middleware.slots import pause_without_slot
from service.web.missing_prices import PriceImport

# A local run of some thousand bars takes half a second, a Job in a cluster several.
FIRST_WAIT_SECONDS = 0.8


def make_app() -> Flask:
    """The application of the settings in the environment; migrates the schema of an SQLite file."""
    try:
        config = load_config()
    except InvalidConfig as error:
        # gunicorn starts a worker that exits again and again; it gives up after an exception.
        raise RuntimeError(str(error)) from None
    set_up_logging(config.log_level, config.log_format)
    engine = open_database(config)
    # Checked at the start, so that a bad plug-in is named in the first lines of the log.
    accepted_rules()
    runs = Runs(
        run_store=RequestStore(engine, pause=pause_without_slot),
        price_store=PriceStore(engine, pause=pause_without_slot),
        max_pending=config.max_pending_runs,
        max_pending_rows=config.max_pending_rows,
        rate_limit=config.rate_limit_per_minute,
        leases=LeaseStore(engine),
    )
    application = create_app(
        runs,
        partial(schema_problem, engine),
        max_body_bytes=config.max_body_bytes,
        login=login_of(config),
        database_name=_database_name(config),
        price_import=PriceImport(config.prices_command, config.launcher == "kubernetes"),
        price_writers=names_in_list(config.price_writers),
        max_upload_bytes=config.max_upload_bytes,
        price_vendors=names_in_list(config.price_vendors),
        room_store=RoomStore(engine, config.database_gib),
        max_at_once=config.web_threads,
        allowed_hosts=names_of_hosts(config.allowed_hosts),
        first_wait_seconds=FIRST_WAIT_SECONDS if config.launcher == "local" else 0.0,
    )
    put_behind(application, config.application_root, config.proxy_hops)
    application.config["TEMPLATES_AUTO_RELOAD"] = config.flask_env == "development"
    return application


def _database_name(config: Config) -> str:
    if not config.db_host:
        return f"the database {config.sqlite_path}"
    return f"the database {config.db_name} on {config.db_host}:{config.db_port}"


app = make_app()
