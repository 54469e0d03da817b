"""Tickers of 32 characters and with names; which prices a ticker had, and what the gate found."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

LENGTH = 32
FIRST_VERSIONS = """
INSERT INTO price_versions (ticker, fingerprint, source, first_day, last_day, bars, stored_at)
SELECT ticker, fingerprint, source, first_day, last_day, bars, created_at
FROM tickers JOIN price_series USING (fingerprint)
WHERE ticker NOT IN (SELECT ticker FROM price_versions)
ORDER BY ticker
"""


def upgrade() -> None:
    """MySQL keeps what a migration that was killed had made: each step looks first."""
    connection = op.get_bind()
    is_mysql = connection.dialect.name == "mysql"
    if is_mysql:
        # SQLite counts no characters.
        for table in ("runs", "tickers"):
            op.alter_column(
                table,
                "ticker",
                existing_type=sa.String(15),
                type_=sa.String(LENGTH),
                existing_nullable=False,
            )
    columns = {column["name"] for column in sa.inspect(connection).get_columns("price_series")}
    text = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")
    for column in (sa.Column("gate", sa.String(64)), sa.Column("findings", text)):
        if column.name not in columns:
            op.add_column("price_series", column)
    _create_tables()
    op.execute(FIRST_VERSIONS)


def _create_tables() -> None:
    name = sa.String(100).with_variant(
        mysql.VARCHAR(100, charset="utf8mb4", collation="utf8mb4_bin"), "mysql"
    )
    op.create_table(
        "ticker_names",
        sa.Column("name_key", name, primary_key=True),
        sa.Column("name", name, nullable=False),
        sa.Column("ticker", sa.String(LENGTH), nullable=False),
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    key = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    moment = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql")
    op.create_table(
        "price_versions",
        sa.Column("id", key, primary_key=True, autoincrement=True),
        sa.Column("ticker", sa.String(LENGTH), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("first_day", sa.String(10), nullable=False),
        sa.Column("last_day", sa.String(10), nullable=False),
        sa.Column("bars", sa.Integer, nullable=False),
        sa.Column("stored_at", moment, nullable=False),
        sa.Column("client", name, nullable=False, server_default=""),
        sa.Column("actions", sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql")),
        mysql_charset="utf8mb4",
        if_not_exists=True,
    )
    for table, index, columns in (
        ("ticker_names", "ix_ticker_names_ticker", ["ticker"]),
        ("price_versions", "ix_price_versions_ticker", ["ticker", "id"]),
    ):
        present = {each["name"] for each in sa.inspect(op.get_bind()).get_indexes(table)}
        if index not in present:
            op.create_index(index, table, columns)


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead")
