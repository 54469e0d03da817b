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


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("results")}
    if "table_csv" not in columns:
        blob = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
        op.add_column("results", sa.Column("table_csv", blob))
    op.execute(COPY_TABLES)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose tables of sweeps")
