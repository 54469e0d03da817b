"""The table of a sweep has a column of its own; it stood in that of equity curves."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What release 0.2.0 stored stays where it is: a rollback finds it there.
COPY_TABLES = """
UPDATE results SET table_csv = equity_csv
WHERE table_csv IS NULL AND run_id IN (SELECT run_id FROM runs WHERE kind = 'sweep')
"""

# Release 0.1.0, of which databases may still hold rows, ended runs that lead their work without
# giving it up, and performed runs that were attached to another one.
FREE_WORK = """
UPDATE runs SET leads = NULL
WHERE leads IS NOT NULL AND status NOT IN ('pending', 'running', 'completed')
"""
KEEP_OWN_RESULTS = """
UPDATE runs SET reused_from = NULL
WHERE reused_from IS NOT NULL AND run_id IN (SELECT run_id FROM results)
"""


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("results")}
    if "table_csv" not in columns:
        blob = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
        op.add_column("results", sa.Column("table_csv", blob))
    for statement in (COPY_TABLES, FREE_WORK, KEEP_OWN_RESULTS):
        op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose tables of sweeps")
