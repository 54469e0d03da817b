"""Alembic's entry: migrates the connection that `service.store.migrate` hands over."""

from alembic import context

from service.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, compare_type=True, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
