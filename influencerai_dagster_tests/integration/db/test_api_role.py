"""The API's role, made by a superuser, by a user who may make roles, and by one who may not."""

from collections.abc import Iterator
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from influencerai_dagster.db.api_role import (
    API_ROLE,
    check_api_role,
    confine,
    prepare_api_role,
    tenant_engine,
)
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.migrate import upgrade
from influencerai_dagster.db.tenants import add_tenant, list_tenants
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster_tests.testing.database_server import execute


@pytest.fixture
def without_role(postgres_server: PostgresServer, empty_database_url: str) -> Iterator[str]:
    """A database; the server's role is gone before and after."""
    drop = f"DROP OWNED BY {API_ROLE}; DROP ROLE {API_ROLE}"
    roles = "SELECT 1 FROM pg_roles WHERE rolname = 'influencerai_api'"
    databases = "SELECT datname FROM pg_database WHERE datallowconn"

    def drop_role() -> None:
        if not execute(postgres_server.url(), roles):
            return
        for (name,) in execute(postgres_server.url(), databases):
            execute(postgres_server.url(str(name)), f"DROP OWNED BY {API_ROLE}")
        execute(postgres_server.url(), drop)

    drop_role()
    yield empty_database_url
    drop_role()


def owner_of(url: str, options: str) -> str:
    """Make a user who owns a database; return its URL."""
    name = f"owner_{uuid4().hex[:8]}"
    database = make_url(url).database
    execute(url, f"CREATE ROLE {name} LOGIN PASSWORD 'pw' {options}")
    execute(url, f"ALTER DATABASE {database} OWNER TO {name}")
    execute(url, f"ALTER SCHEMA public OWNER TO {name}")
    own = make_url(url).set(username=name, password="pw")  # noqa: S106
    return own.render_as_string(hide_password=False)


def seen(url: str) -> tuple[list[str], list[str]]:
    """Return the tenants that a user sees, and those that the API sees for `demo`."""
    engine = create_catalog_engine(url)
    confined = create_catalog_engine(url)
    confine(confined)
    try:
        with transaction(engine) as session:
            for name in ("demo", "other"):
                add_tenant(session, name)
        with transaction(engine) as session:
            all_of_them = [tenant.id for tenant in list_tenants(session)]
        with transaction(tenant_engine(confined, "demo")) as session:
            return all_of_them, [tenant.id for tenant in list_tenants(session)]
    finally:
        engine.dispose()
        confined.dispose()


def test_a_user_who_may_make_roles_needs_no_administrator(without_role: str) -> None:
    url = owner_of(without_role, "CREATEROLE")
    upgrade(url)
    for _ in range(2):
        prepare_api_role(url)
    assert seen(url) == (["demo", "other"], ["demo"])


def test_a_superuser_is_confined_too(without_role: str) -> None:
    upgrade(without_role)
    prepare_api_role(without_role)
    assert seen(without_role) == (["demo", "other"], ["demo"])


def test_a_user_who_may_not_is_told_what_an_administrator_has_to_run(without_role: str) -> None:
    url = owner_of(without_role, "NOCREATEROLE")
    upgrade(url)
    with pytest.raises(PermanentError, match="CREATE ROLE influencerai_api") as refused:
        prepare_api_role(url)
    engine = create_catalog_engine(url)
    with pytest.raises(PermanentError, match="influencerai migrate"):
        check_api_role(engine)
    engine.dispose()
    statements = str(refused.value).partition("administrator run: ")[2].partition("; and then")[0]
    execute(without_role, statements)
    prepare_api_role(url)
    assert seen(url) == (["demo", "other"], ["demo"])


def test_a_role_that_sees_everything_is_refused(without_role: str) -> None:
    upgrade(without_role)
    prepare_api_role(without_role)
    execute(without_role, f"ALTER ROLE {API_ROLE} BYPASSRLS")
    with pytest.raises(PermanentError, match="sees the rows of every tenant"):
        prepare_api_role(without_role)
