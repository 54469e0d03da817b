"""Columns for the client, identical work and evidence of failed jobs; indexes of all queries."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Names that differ in case only are two clients, as they are to SQLite and to the login.
CLIENT = sa.String(100).with_variant(
    mysql.VARCHAR(100, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
)
INDEXES = {
    "ix_runs_ticker": ["ticker", "id"],
    "ix_runs_ticker_status": ["ticker", "status", "id"],
    "ix_runs_queue": ["status", "launched_at", "reused_from", "id"],
    "ix_runs_queue_client": ["status", "launched_at", "reused_from", "client", "id"],
    "ix_runs_client": ["client", "created_at"],
    "ix_runs_leads": ["leads"],
    "ix_runs_reused_from": ["reused_from", "status"],
    "ix_runs_finished_at": ["finished_at"],
}

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
"""


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    inspector = sa.inspect(op.get_bind())
    columns = {column["name"] for column in inspector.get_columns("runs")}
    indexes = {index["name"] for index in inspector.get_indexes("runs")}
    for column in _columns():
        if column.name not in columns:
            op.add_column("runs", column)
    for name, parts in INDEXES.items():
        if name not in indexes:
            op.create_index(name, "runs", parts, unique=name == "ix_runs_leads")
    op.execute("DROP VIEW IF EXISTS backtest_results")
    op.execute(VIEW)


def _columns() -> tuple[sa.Column, ...]:
    return (
        sa.Column("client", CLIENT, nullable=False, server_default=""),
        sa.Column("leads", sa.String(64)),
        sa.Column("reused_from", sa.String(36)),
        sa.Column("evidence", sa.Text()),
    )


def downgrade() -> None:
    raise NotImplementedError(
        "restore a backup instead: going back would lose what the new columns hold"
    )
