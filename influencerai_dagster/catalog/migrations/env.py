"""Alembic's entry: run the migrations on the connection, and in the transaction, of the caller."""

from alembic import context

from influencerai_dagster.catalog import retention_models, scheduling_models  # noqa: F401 - tables
from influencerai_dagster.catalog.models import CatalogModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=CatalogModel.metadata,
)
with context.begin_transaction():
    context.run_migrations()
