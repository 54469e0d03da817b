"""The tables. Results and figures have tables of their own: lists and polls never touch them.

The view `backtest_results` over them is in the migrations.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine


class Moment(TypeDecorator[Any]):
    """UTC. What a row has instead of a moment is read as it is: `rows` says that it is none."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """With microseconds on MySQL too."""
        own = mysql.DATETIME(fsp=6) if dialect.name == "mysql" else DateTime()
        return dialect.type_descriptor(own)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """That of DateTime, without its error, which would keep all other rows from being read."""
        read = self.impl_instance.result_processor(dialect, coltype)
        if read is None:
            return None

        def read_leniently(value: Any) -> Any:
            try:
                moment = read(value)
            except (ValueError, TypeError):
                return value
            if moment is None or moment.tzinfo is None:
                return moment
            return moment.astimezone(UTC).replace(tzinfo=None)

        return read_leniently


metadata = MetaData(naming_convention={"fk": "fk_%(table_name)s_%(column_0_name)s"})

Key = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up an INTEGER only
Sha256 = String(64)
TickerText = String(32)
# Names that differ in case only are two clients.
CaseSensitiveName = mysql.VARCHAR(100, charset="utf8mb4", collation="utf8mb4_bin")
Name = String(100).with_variant(CaseSensitiveName, "mysql")
LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
Blob = LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")

SEARCHED_COLUMNS = (
    "id",
    "ticker",
    "rule_id",
    "status",
    "kind",
    "client",
    "batch_id",
    "created_at",
    "start_date",
    "end_date",
    "costs_pct",
    "total_return_pct",
    "buy_and_hold_return_pct",
    "sharpe_ratio",
    "max_drawdown_pct",
    "num_trades",
)


def _key_of_run() -> Column[Any]:
    """The `id` of a run, for a table of what users say about runs."""
    key = ForeignKey("runs.id", ondelete="CASCADE")
    return Column("runs_id", Key, key, primary_key=True, autoincrement=False)


runs = Table(
    "runs",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),  # the order of arrival
    Column("run_id", String(36), nullable=False, unique=True),
    Column("request", Text, nullable=False),  # canonical JSON, defaults filled in
    Column("ticker", TickerText, nullable=False),
    Column("rule_id", String(200), nullable=False),  # as performed
    Column("prices_fingerprint", Sha256, nullable=False),
    Column("benchmark_fingerprint", Sha256),  # of a benchmark that is another ticker
    Column("rules_digest", Sha256, nullable=False),
    Column("status", String(10), nullable=False),
    Column("reason", String(40)),
    Column("message", Text),
    Column("attempt", Integer, nullable=False, default=0),  # raised by every claim
    Column("launches", Integer, nullable=False, default=0),  # raised by every launch
    Column("claimed_by", String(100)),
    Column("lease_until", Moment()),
    Column("created_at", Moment(), nullable=False),
    Column("launched_at", Moment()),
    Column("started_at", Moment()),
    Column("finished_at", Moment()),
    Column("total_return_pct", Double),
    Column("sharpe_ratio", Double),
    Column("max_drawdown_pct", Double),
    Column("num_trades", Integer),
    Column("client", Name, nullable=False, server_default=""),  # who asked
    Column("leads", Sha256),  # the work that identical requests are answered with from here
    Column("reused_from", String(36)),  # the run that leads the work of this one
    Column("evidence", Text),  # JSON: what was seen of the job of a run that failed
    Column("kind", String(10), nullable=False, server_default="backtest"),  # or sweep
    Column("batch_id", String(36)),  # of the runs that were asked for at once
    Column("buy_and_hold_return_pct", Double),
    # Of the request; NULL where the release before recorded the run during an upgrade.
    Column("start_date", String(10)),
    Column("end_date", String(10)),
    Column("costs_pct", Double),  # commission and slippage of a trade, in percent of its value
    # What its result, table and figure take; NULL where nobody has measured it yet.
    Column("stored_bytes", BigInteger),
    Index("ix_runs_status", "status", "id"),
    Index("ix_runs_queue", "status", "launched_at", "reused_from", "id"),
    Index("ix_runs_queue_client", "status", "launched_at", "reused_from", "client", "id"),
    Index("ix_runs_client", "client", "created_at"),
    Index("ix_runs_leads", "leads", unique=True),
    Index("ix_runs_reused_from", "reused_from", "status"),
    Index("ix_runs_finished_at", "finished_at"),
    Index("ix_runs_stored_bytes", "stored_bytes", "finished_at"),
    Index("ix_runs_prices_fingerprint", "prices_fingerprint"),
    Index("ix_runs_benchmark_fingerprint", "benchmark_fingerprint"),
    Index("ix_runs_kind", "kind", "id"),
    Index("ix_runs_batch_id", "batch_id", "id"),
    # All that runs are searched and sorted by: a search reads this and not the rows.
    Index("ix_runs_search", *SEARCHED_COLUMNS),
    mysql_charset="utf8mb4",
)

results = Table(
    "results",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("result", LongText, nullable=False),  # canonical JSON without the figure
    Column("equity_csv", Blob, nullable=False),  # zlib; the heading, for release 0.2.0
    Column("table_csv", Blob),  # of a backtest as `packing` makes it, of a sweep zlib
    Column("overview", Blob),  # zlib; JSON, of a long run: what its page shows first
    mysql_charset="utf8mb4",
)

sweeps = Table(
    "sweeps",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("prices", Text, nullable=False),  # JSON: the fingerprint of each ticker's series
    mysql_charset="utf8mb4",
)

sweep_shards = Table(
    "sweep_shards",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("shard", Integer, primary_key=True, autoincrement=False),
    Column("first_row", Integer, nullable=False),  # of all tickers, one after the other
    Column("end_row", Integer, nullable=False),  # the first of the next
    Column("status", String(10), nullable=False),
    Column("reason", String(40)),
    Column("message", Text),
    Column("tries", Integer, nullable=False, default=0),  # claims that were not given back
    Column("attempt", Integer, nullable=False, default=0),  # raised by every claim
    Column("claimed_by", String(100)),
    Column("lease_until", Moment()),
    Column("numbers", Blob),  # NumPy's npz, until the sweep has ended
    mysql_charset="utf8mb4",
)

figures = Table(
    "figures",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True),
    Column("chart_base64", LongText, nullable=False),  # data:image/png;base64,...
    mysql_charset="utf8mb4",
)

run_stars = Table(
    "run_stars",
    metadata,
    _key_of_run(),
    mysql_charset="utf8mb4",
)

run_tags = Table(
    "run_tags",
    metadata,
    _key_of_run(),
    Column("tag", Name, primary_key=True),
    Index("ix_run_tags_tag", "tag", "runs_id"),
    mysql_charset="utf8mb4",
)

run_notes = Table(
    "run_notes",
    metadata,
    _key_of_run(),
    Column("note", Text, nullable=False),
    Column("version", Integer, nullable=False),  # raised by every change
    mysql_charset="utf8mb4",
)

price_series = Table(
    "price_series",
    metadata,
    Column("fingerprint", Sha256, primary_key=True),
    Column("content", Blob, nullable=False),  # zlib; never changed
    Column("created_at", Moment(), nullable=False),
    Column("gate", Sha256),  # the data gate that judged it, by `service.prices.gate`
    Column("findings", LongText),  # JSON: what it found
    mysql_charset="utf8mb4",
)

tickers = Table(
    "tickers",
    metadata,
    Column("ticker", TickerText, primary_key=True),
    # the current series
    Column("fingerprint", Sha256, ForeignKey("price_series.fingerprint"), nullable=False),
    Column("source", String(200), nullable=False),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("bars", Integer, nullable=False),
    mysql_charset="utf8mb4",
)

ticker_names = Table(
    "ticker_names",
    metadata,
    Column("name_key", Name, primary_key=True),  # as names are looked up
    Column("name", Name, nullable=False),
    Column("ticker", TickerText, nullable=False),  # it may have no prices yet
    Index("ix_ticker_names_ticker", "ticker"),
    mysql_charset="utf8mb4",
)

price_versions = Table(
    "price_versions",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("ticker", TickerText, nullable=False),
    Column("fingerprint", Sha256, nullable=False),  # its series may be gone
    Column("source", String(200), nullable=False),
    Column("first_day", String(10), nullable=False),
    Column("last_day", String(10), nullable=False),
    Column("bars", Integer, nullable=False),
    Column("stored_at", Moment(), nullable=False),
    Column("client", Name, nullable=False, server_default=""),  # who stored it
    Column("actions", LongText),  # JSON: dividends and splits, where its source has them
    Index("ix_price_versions_ticker", "ticker", "id"),
    mysql_charset="utf8mb4",
)

# What starred runs made of the bars that came after they were asked for.
forward_records = Table(
    "forward_records",
    metadata,
    _key_of_run(),
    Column("prices_fingerprint", Sha256, nullable=False),  # of the prices that have those bars
    Column("record", Text, nullable=False),  # JSON, by `service.doubt.forward`
    mysql_charset="utf8mb4",
)

# What was tried, ticker by ticker. It outlives the runs: what was tried was tried.
trials = Table(
    "trials",
    metadata,
    Column("id", Key, primary_key=True, autoincrement=True),  # the order in which it was recorded
    Column("run_id", String(36), nullable=False),
    Column("ticker", TickerText, nullable=False),
    Column("first_day", String(10), nullable=False),  # of the bars
    Column("last_day", String(10), nullable=False),
    # Keys name rule, parameters and terms; each trial up to `complete_to` has its record.
    Column("set_key", BigInteger, nullable=False),  # the same for the same trials
    Column("lowest_key", BigInteger, nullable=False),
    Column("complete_to", BigInteger, nullable=False),
    Column("trials", Integer, nullable=False),  # with all keys
    Column("kept", Integer, nullable=False),  # those that have a record
    Column("records", Blob, nullable=False),  # by `service.trials.records`
    Column("judged", Text),  # JSON: the trial that the result shows
    Index("ix_trials_run_id", "run_id", "ticker", unique=True),
    Index("ix_trials_ticker", "ticker", "lowest_key", "set_key", "first_day", "last_day", "id"),
    mysql_charset="utf8mb4",
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("holder", String(100), nullable=False),
    Column("until", Moment(), nullable=False),
    mysql_charset="utf8mb4",
)
