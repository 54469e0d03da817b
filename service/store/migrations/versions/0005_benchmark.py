"""A run remembers the prices of its benchmark, where that is another ticker."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: it looks first."""
    columns = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("runs")}
    if "benchmark_fingerprint" not in columns:
        op.add_column("runs", sa.Column("benchmark_fingerprint", sa.String(64)))


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would lose benchmarks")
