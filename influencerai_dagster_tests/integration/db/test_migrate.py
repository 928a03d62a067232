"""The migrations, from nothing to the newest revision."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import make_url, text

from influencerai_dagster.core.database_urls import in_database
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.migrate import (
    current_revision,
    ensure_database,
    head_revision,
    upgrade,
)
from influencerai_dagster.db.models.retention import ObjectDeletionRow
from influencerai_dagster.db.tenants import list_tenants
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.catalog import MakeDatabase

# What Alembic's comparison does not see: checks, what an index is on, defaults.
_SCHEMA = """
SELECT 'column', table_name || '.' || column_name,
       concat_ws(' ', udt_name, is_nullable, column_default, is_identity, numeric_precision)
  FROM information_schema.columns WHERE table_schema = 'public'
UNION ALL
SELECT 'constraint', conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL
SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
ORDER BY 1, 2
"""


def _schema(url: str) -> list[tuple[str, ...]]:
    engine = create_catalog_engine(url)
    with engine.connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(_SCHEMA))]
    engine.dispose()
    return [row for row in rows if "alembic_version" not in row[1]]


def test_migrations_make_what_the_models_say(catalog_url: str, make_database: MakeDatabase) -> None:
    url = make_database()
    engine = create_catalog_engine(url)
    ObjectDeletionRow.metadata.create_all(engine)
    engine.dispose()
    assert len(_schema(url)) > 100
    assert _schema(catalog_url) == _schema(url)


def test_alembic_finds_nothing_to_migrate(catalog_url: str) -> None:
    engine = create_catalog_engine(catalog_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, ObjectDeletionRow.metadata) == []
    engine.dispose()


def test_a_new_database_has_no_revision_and_an_upgraded_one_the_head(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    assert current_revision(url) is None
    upgrade(url)
    assert current_revision(url) == head_revision()


def test_a_training_of_a_running_stack_still_owns_the_gpu_after_the_migration(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    upgrade(url, "0006")
    engine = create_catalog_engine(url)
    activities = ("train_lora a/shared", "training a/own", "train_lora_job a/waits", "lora_samples")
    with transaction(engine) as session:
        for activity in activities:
            session.execute(
                text(
                    "INSERT INTO run_heartbeats (run_id, activity, host) VALUES (:it, :it, 'box')"
                ),
                {"it": activity},
            )
    upgrade(url)
    with transaction(engine) as session:
        rows = session.execute(text("SELECT run_id, dataset, owns_gpu FROM running_trainings"))
        found = {row.run_id: (row.dataset, row.owns_gpu) for row in rows}
    engine.dispose()
    assert found == {
        "train_lora a/shared": ("a/shared", True),
        "training a/own": ("a/own", False),
    }


def test_a_catalog_of_before_upscales_keeps_its_jobs_and_takes_upscales(
    make_database: MakeDatabase,
) -> None:
    url = make_database()
    upgrade(url, "0008")
    engine = create_catalog_engine(url)
    add = text(
        "INSERT INTO jobs (id, tenant_id, day, kind, priority, payload, max_attempts) VALUES "
        "(gen_random_uuid(), 'demo', '2026-11-23', :kind, 5, jsonb_build_object('kind', "
        "cast(:kind AS text)), 3)"
    )
    with transaction(engine) as session:
        session.execute(text("INSERT INTO tenants (id, name) VALUES ('demo', 'Demo')"))
        session.execute(add, {"kind": "image"})
    with pytest.raises(PermanentError), transaction(engine) as session:
        session.execute(add, {"kind": "upscale"})
    upgrade(url)
    with transaction(engine) as session:
        session.execute(add, {"kind": "upscale"})
        kinds = session.scalars(text("SELECT kind FROM jobs ORDER BY number")).all()
    engine.dispose()
    assert kinds == ["image", "upscale"]


def test_starters_at_the_same_moment_migrate_once(make_database: MakeDatabase) -> None:
    url = make_database()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    assert current_revision(url) == head_revision()


def test_a_catalog_of_a_newer_release_is_refused(make_database: MakeDatabase) -> None:
    url = make_database()
    upgrade(url)
    engine = create_catalog_engine(url)
    with transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(PermanentError, match="'9999', which this release does not know"):
        upgrade(url)


def test_a_database_that_was_never_migrated_says_so(make_database: MakeDatabase) -> None:
    engine = create_catalog_engine(make_database())
    with (
        pytest.raises(PermanentError, match=r"tables .* Run `influencerai migrate`"),
        transaction(engine) as session,
    ):
        list_tenants(session)
    engine.dispose()


def test_a_database_is_created_once_also_by_starters_at_the_same_moment(postgres_url: str) -> None:
    name = 'catalog "quoted"; DROP TABLE'
    url = make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(ensure_database, [url] * 4)) == [False, False, False, True]


def test_a_url_without_a_database_is_refused() -> None:
    with pytest.raises(PermanentError, match="names no database"):
        ensure_database("postgresql://postgres@127.0.0.1:5432/")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_cannot_hold_every_language_is_refused(
    postgres_url: str, encoding: str
) -> None:
    name = f"in {encoding}"
    server = create_catalog_engine(postgres_url).execution_options(isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.exec_driver_sql(
            f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0"
        )
    server.dispose()
    url = in_database(postgres_url, name)
    with pytest.raises(
        PermanentError, match=f"'{name}' has the encoding {encoding}.* ENCODING 'UTF8'"
    ):
        upgrade(url)
    assert current_revision(url) is None
