"""What ended runs take, and which price series are referred to, is found without reading all."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NEW_INDEXES = {
    "ix_runs_stored_bytes": ["stored_bytes", "finished_at"],
    "ix_runs_prices_fingerprint": ["prices_fingerprint"],
    "ix_runs_benchmark_fingerprint": ["benchmark_fingerprint"],
}


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first.

    The controller measures the runs that are there already, a few at a time.
    """
    inspector = sa.inspect(op.get_bind())
    if "stored_bytes" not in {column["name"] for column in inspector.get_columns("runs")}:
        op.add_column("runs", sa.Column("stored_bytes", sa.BigInteger()))
    indexes = {index["name"] for index in inspector.get_indexes("runs")}
    for name, columns in NEW_INDEXES.items():
        if name not in indexes:
            op.create_index(name, "runs", columns)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
