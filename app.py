"""The web: `gunicorn app:app`, or `python -m flask run`."""

from functools import partial

from flask import Flask

from rules.plugins import installed_rules
from scripts.config import InvalidConfig, load_config
from scripts.logger_config import set_up_logging
from service.store.leases import LeaseStore
from service.store.migrate import open_database, schema_problem
from service.store.prices import PriceStore
from service.store.requests import RequestStore
from service.usecases.runs import Runs
from service.web.factory import create_app, put_behind
from service.web.middleware.auth import login_of


def make_app() -> Flask:
    """Everything wired from the environment; SQLite's schema is brought up to date on the way."""
    try:
        config = load_config()
    except (
        InvalidConfig
    ) as error:  # gunicorn starts a worker that exits again and again, one that raises only once
        raise RuntimeError(str(error)) from None
    set_up_logging(config.log_level, config.log_format)
    engine = open_database(config)
    installed_rules(True)  # checked now, so that a bad plug-in shows in the first lines of the log
    runs = Runs(
        run_store=RequestStore(engine),
        price_store=PriceStore(engine),
        max_pending=config.max_pending_runs,
        rate_limit=config.rate_limit_per_minute,
        leases=LeaseStore(engine),
        prices_command=config.prices_command,
        in_cluster=config.launcher == "kubernetes",
    )
    made = create_app(
        runs, partial(schema_problem, engine), config.max_body_bytes, login_of(config)
    )
    if config.db_host:
        made.extensions["database"] = (
            f"the database {config.db_name} on {config.db_host}:{config.db_port}"
        )
    put_behind(made, config.application_root, config.proxy_hops)
    made.config["TEMPLATES_AUTO_RELOAD"] = config.flask_env == "development"
    return made


app = make_app()
