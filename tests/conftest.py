"""Prices, stores and a client that every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from scripts.config import ROOT, Config
from service.price_series import PriceSeries, read_csv
from service.runs import Runs
from service.store.database import connect
from service.store.migrate import migrate, schema_is_current
from service.store.price_store import PriceStore
from service.store.run_store import RunStore
from service.web.factory import create_app

TICKERS = sorted(path.stem for path in (ROOT / "data").glob("*.csv"))
RUN_ID = "11111111-1111-4111-8111-111111111111"
REQUEST = {"ticker": "GOOG", "rule_id": "MA_CROSS_10_30", "start_date": "2013-01-02", "end_date": "2020-02-07"}


@cache
def series(ticker: str) -> PriceSeries:
    """One of the bundled price series."""
    return read_csv(ROOT / "data" / f"{ticker}.csv", ticker, source=f"{ticker}.csv")


def prices(ticker: str = "GOOG", bars: int | None = None) -> pd.DataFrame:
    """A copy of its bars."""
    return series(ticker).data.iloc[:bars].copy()


def random_walk(bars: int, seed: int, sigma: float) -> pd.DataFrame:
    """The seeded OHLCV walk that the research figures use: `bars` business days from 2014 on."""
    random = np.random.Generator(np.random.PCG64(seed))
    close = 100.0 * np.exp(np.cumsum(random.normal(0.0, sigma, bars)))
    open_ = np.concatenate([[100.0], close[:-1]]) * np.exp(random.normal(0.0, sigma / 4, bars))
    high = np.maximum(open_, close) * np.exp(np.abs(random.normal(0.0, sigma / 3, bars)))
    low = np.minimum(open_, close) * np.exp(-np.abs(random.normal(0.0, sigma / 3, bars)))
    volume = random.integers(1_000, 1_000_000, bars).astype(float)
    columns = {"Open": open_, "High": high, "Low": low, "Close": close, "Volume": volume}
    return pd.DataFrame(columns, index=pd.bdate_range("2014-01-01", periods=bars))


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "test.sqlite3"


@pytest.fixture
def engine(database: Path) -> Iterator[Engine]:
    """A migrated SQLite database with the prices of GOOG and SPY."""
    engine = connect(Config(sqlite_path=str(database)))
    migrate(engine)
    for ticker in ("GOOG", "SPY"):
        PriceStore(engine).save(series(ticker))
    yield engine
    engine.dispose()


@pytest.fixture
def runs(engine: Engine) -> Runs:
    return Runs(RunStore(engine), PriceStore(engine), max_pending=20)


@pytest.fixture
def client(engine: Engine, runs: Runs) -> FlaskClient:
    return create_app(runs, partial(schema_is_current, engine)).test_client()
