"""Alembic's entry: run the migrations on the connection, and in the transaction, of the caller."""

from alembic import context

from influencerai_dagster.catalog import scheduling_models

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=scheduling_models.GpuShareRow.metadata,
)
with context.begin_transaction():
    context.run_migrations()
