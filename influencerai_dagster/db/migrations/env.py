"""Run Alembic's migrations on the connection, and in the transaction, of the caller."""

from alembic import context

from influencerai_dagster.db.models.content import CatalogModel

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=CatalogModel.metadata,
)
with context.begin_transaction():
    context.run_migrations()
