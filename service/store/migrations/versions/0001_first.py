"""The first schema: runs, results, figures, prices, tickers, leases and a view of results."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
# MySQL keeps what a migration that was killed had made: the next try goes on from there.
OPTIONS = {"mysql_charset": "utf8mb4", "if_not_exists": True}

VIEW = """
CREATE VIEW backtest_results AS
SELECT runs.run_id, runs.ticker, runs.rule_id, runs.status, runs.total_return_pct, \
runs.sharpe_ratio,
       runs.max_drawdown_pct, runs.num_trades, results.result AS metrics, figures.chart_base64,
       runs.reason AS error_code, runs.message AS error_message, runs.created_at
FROM runs
LEFT JOIN results ON results.run_id = runs.run_id
LEFT JOIN figures ON figures.run_id = runs.run_id
"""


def upgrade() -> None:
    _create_prices()
    _create_runs()
    _create_results()
    op.execute("DROP VIEW IF EXISTS backtest_results")
    op.execute(VIEW)


def _create_prices() -> None:
    op.create_table(
        "price_series",
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("content", BLOB, nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "tickers",
        sa.Column("ticker", sa.String(15), primary_key=True),
        sa.Column(
            "fingerprint", sa.String(64), sa.ForeignKey("price_series.fingerprint"), nullable=False
        ),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("bars", sa.Integer(), nullable=False),
        **OPTIONS,
    )
    op.create_table(
        "leases",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("holder", sa.String(100), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        **OPTIONS,
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", KEY, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.String(36), nullable=False, unique=True),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("ticker", sa.String(15), nullable=False),
        sa.Column("rule_id", sa.String(200), nullable=False),
        sa.Column("prices_fingerprint", sa.String(64), nullable=False),
        sa.Column("rules_digest", sa.String(64), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(40)),
        sa.Column("message", sa.Text()),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("launches", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(100)),
        *(
            sa.Column(name, MOMENT)
            for name in ("lease_until", "launched_at", "started_at", "finished_at")
        ),
        sa.Column("created_at", MOMENT, nullable=False),
        *(
            sa.Column(name, sa.Double())
            for name in ("total_return_pct", "sharpe_ratio", "max_drawdown_pct")
        ),
        sa.Column("num_trades", sa.Integer()),
        **OPTIONS,
    )
    indexes = {index["name"] for index in sa.inspect(op.get_bind()).get_indexes("runs")}
    if "ix_runs_status" not in indexes:
        op.create_index("ix_runs_status", "runs", ["status", "id"])


def _create_results() -> None:
    for name, columns in {
        "results": (
            sa.Column("result", LONG_TEXT, nullable=False),
            sa.Column("equity_csv", BLOB, nullable=False),
        ),
        "figures": (sa.Column("chart_base64", LONG_TEXT, nullable=False),),
    }.items():
        run_id = sa.Column(
            "run_id",
            sa.String(36),
            sa.ForeignKey("runs.run_id", ondelete="CASCADE"),
            primary_key=True,
        )
        op.create_table(name, run_id, *columns, **OPTIONS)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose runs")
