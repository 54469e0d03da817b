"""The ledger of trials, and the forward record of starred runs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

INDEXES = {
    "ix_trials_run_id": (["run_id", "ticker"], True),
    "ix_trials_ticker": (
        ["ticker", "lowest_key", "set_key", "first_day", "last_day", "id"],
        False,
    ),
}


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    op.create_table(
        "trials",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("ticker", sa.String(32), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("set_key", sa.BigInteger, nullable=False),
        sa.Column("lowest_key", sa.BigInteger, nullable=False),
        sa.Column("complete_to", sa.BigInteger, nullable=False),
        sa.Column("trials", sa.Integer, nullable=False),
        sa.Column("kept", sa.Integer, nullable=False),
        sa.Column(
            "records",
            sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql"),
            nullable=False,
        ),
        sa.Column("judged", sa.Text),
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    key = sa.ForeignKey("runs.id", name="fk_forward_records_runs_id", ondelete="CASCADE")
    op.create_table(
        "forward_records",
        sa.Column("runs_id", number, key, primary_key=True, autoincrement=False),
        sa.Column("prices_fingerprint", sa.String(64), nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    present = {each["name"] for each in sa.inspect(op.get_bind()).get_indexes("trials")}
    for name, (columns, is_unique) in INDEXES.items():
        if name not in present:
            op.create_index(name, "trials", columns, unique=is_unique)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would forget what was tried")
