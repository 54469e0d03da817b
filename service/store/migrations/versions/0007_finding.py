"""Runs are found by all that is asked and known of them; stars, tags and notes; batches."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

RUNS_AT_ONCE = 1000
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
NEW_INDEXES = {"ix_runs_search": SEARCHED_COLUMNS, "ix_runs_batch_id": ("batch_id", "id")}
REPLACED_INDEXES = ("ix_runs_ticker", "ix_runs_ticker_status")
# A row that cannot be read stays as it is; it must not stop an upgrade.
FILL_ASKED = """
UPDATE runs SET start_date = {start_date}, end_date = {end_date},
    costs_pct = round(100 * ({commission_rate} + {slippage_rate}), 6)
WHERE id BETWEEN :first AND :last AND start_date IS NULL AND json_valid(request)
"""
FILL_HOLDING = """
UPDATE runs SET buy_and_hold_return_pct = (
    SELECT {holding} FROM results
    WHERE results.run_id = COALESCE(runs.reused_from, runs.run_id) AND json_valid(results.result)
)
WHERE id BETWEEN :first AND :last AND kind = 'backtest' AND status = 'completed'
"""


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    connection = op.get_bind()
    inspector = sa.inspect(connection)
    present = {column["name"] for column in inspector.get_columns("runs")}
    for column in _columns():
        if column.name not in present:
            op.add_column("runs", column)
    _fill(connection)
    indexes = {index["name"] for index in inspector.get_indexes("runs")}
    for name, columns in NEW_INDEXES.items():
        if name not in indexes:
            op.create_index(name, "runs", list(columns))
    for name in REPLACED_INDEXES:
        if name in indexes:
            op.drop_index(name, "runs")
    _create_marks()


def _columns() -> tuple[sa.Column, ...]:
    return (
        sa.Column("batch_id", sa.String(36)),
        sa.Column("buy_and_hold_return_pct", sa.Double()),
        sa.Column("start_date", sa.String(10)),
        sa.Column("end_date", sa.String(10)),
        sa.Column("costs_pct", sa.Double()),
    )


def _fill(connection: sa.Connection) -> None:
    """A thousand runs at a time, so that nobody waits long for one of these rows."""
    is_mysql = connection.dialect.name == "mysql"
    values = {
        "start_date": _value(is_mysql, "request", "start_date", "CHAR"),
        "end_date": _value(is_mysql, "request", "end_date", "CHAR"),
        "commission_rate": _value(is_mysql, "request", "commission_rate", "DOUBLE"),
        "slippage_rate": _value(is_mysql, "request", "slippage_rate", "DOUBLE"),
        "holding": _value(is_mysql, "result", "metrics.buy_and_hold_return_pct", "DOUBLE"),
    }
    last = connection.scalar(sa.text("SELECT max(id) FROM runs")) or 0
    for first in range(0, last + 1, RUNS_AT_ONCE):
        for statement in (FILL_ASKED, FILL_HOLDING):
            span = {"first": first, "last": first + RUNS_AT_ONCE - 1}
            connection.execute(sa.text(statement.format(**values)), span)
        if is_mysql:
            op.execute("COMMIT")


def _value(is_mysql: bool, column: str, path: str, sql_type: str) -> str:
    if is_mysql:
        return f"json_value({column}, '$.{path}' RETURNING {sql_type})"
    return f"json_extract({column}, '$.{path}')"


def _create_marks() -> None:
    name = sa.String(100).with_variant(
        mysql.VARCHAR(100, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
    )
    tables = {
        "run_stars": (),
        "run_tags": (sa.Column("tag", name, primary_key=True),),
        "run_notes": (
            sa.Column("note", sa.Text(), nullable=False),
            sa.Column("version", sa.Integer(), nullable=False),
        ),
    }
    for table, columns in tables.items():
        key = _key_of_run(table)
        op.create_table(table, key, *columns, mysql_charset="utf8mb4", if_not_exists=True)
    indexes = sa.inspect(op.get_bind()).get_indexes("run_tags")
    if "ix_run_tags_tag" not in {index["name"] for index in indexes}:
        op.create_index("ix_run_tags_tag", "run_tags", ["tag", "runs_id"])


def _key_of_run(table: str) -> sa.Column:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    key = sa.ForeignKey("runs.id", name=f"fk_{table}_runs_id", ondelete="CASCADE")
    return sa.Column("runs_id", number, key, primary_key=True, autoincrement=False)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose tags and notes")
