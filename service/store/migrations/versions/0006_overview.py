"""The result of a long run keeps what its page shows first: nobody waits for all its bars."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: it looks first."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("results")}
    if "overview" not in columns:
        blob = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql")
        op.add_column("results", sa.Column("overview", blob))


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: pages of long runs would become slow")
