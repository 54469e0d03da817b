"""Alembic's entry: migrates the connection that `service.store.migrate` hands over."""

from typing import Any

from alembic import context
from sqlalchemy import String

from service.store.tables import metadata


def differ(_: object, __: object, ___: object, present: Any, declared: Any) -> bool | None:
    """Whether two types of a column differ; None leaves it to Alembic.

    A text of SQLite has any length, whatever its column says.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    are_texts = isinstance(present, String) and isinstance(declared, String)
    return False if is_sqlite and are_texts else None


connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, compare_type=differ, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
