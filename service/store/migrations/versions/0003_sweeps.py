"""Sweeps: runs of another kind, and the shards of each."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

VIEW = """
CREATE VIEW backtest_results AS
SELECT runs.run_id, runs.ticker, runs.rule_id, runs.status, runs.total_return_pct, \
runs.sharpe_ratio,
       runs.max_drawdown_pct, runs.num_trades,
       COALESCE(results.result, REPLACE(twin.result, twin.run_id, runs.run_id)) AS metrics, \
figures.chart_base64,
       runs.reason AS error_code, runs.message AS error_message, runs.created_at
FROM runs
LEFT JOIN results ON results.run_id = runs.run_id AND runs.status = 'completed'
LEFT JOIN results twin ON twin.run_id = runs.reused_from AND runs.status = 'completed' \
AND results.run_id IS NULL
LEFT JOIN figures ON figures.run_id = COALESCE(results.run_id, twin.run_id)
WHERE runs.kind = 'backtest'
"""


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    inspector = sa.inspect(op.get_bind())
    if "kind" not in {column["name"] for column in inspector.get_columns("runs")}:
        op.add_column(
            "runs", sa.Column("kind", sa.String(10), nullable=False, server_default="backtest")
        )
    if "ix_runs_kind" not in {index["name"] for index in inspector.get_indexes("runs")}:
        op.create_index("ix_runs_kind", "runs", ["kind", "id"])
    for name, columns in (("sweeps", _sweep()), ("sweep_shards", _shard())):
        op.create_table(name, *columns, mysql_charset="utf8mb4", if_not_exists=True)
    op.execute("DROP VIEW IF EXISTS backtest_results")
    op.execute(VIEW)


def _run_id(table: str) -> sa.Column:
    key = sa.ForeignKey("runs.run_id", name=f"fk_{table}_run_id", ondelete="CASCADE")
    return sa.Column("run_id", sa.String(36), key, primary_key=True)


def _sweep() -> tuple[sa.Column, ...]:
    return _run_id("sweeps"), sa.Column("prices", sa.Text(), nullable=False)


def _shard() -> tuple[sa.Column, ...]:
    return (
        _run_id("sweep_shards"),
        sa.Column("shard", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("first_row", sa.Integer(), nullable=False),
        sa.Column("end_row", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("reason", sa.String(40)),
        sa.Column("message", sa.Text()),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("claimed_by", sa.String(100)),
        sa.Column("lease_until", sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")),
        sa.Column("numbers", sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")),
    )


def downgrade() -> None:
    raise NotImplementedError(
        "restore a backup instead: going back would lose what the new tables hold"
    )
