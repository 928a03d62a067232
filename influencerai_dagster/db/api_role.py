"""Confine the API's transactions to one tenant by row-level security, under a role of their own.

The policies are in migrations/versions/0010_access.py. They concern this role alone, so that a
query of the API that forgets the tenant finds nothing, whatever user DATABASE_URL names.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from influencerai_dagster.core.keys import check_part
from influencerai_dagster.db.engine import create_catalog_engine, database_errors
from influencerai_dagster.errors import PermanentError

API_ROLE = "influencerai_api"
TENANT_SETTING = "influencerai.tenant"
_OPTION = "influencerai_tenant"
_REFUSED = "42501"  # insufficient_privilege
_ENTER_ROLE = f"""
SET LOCAL ROLE {API_ROLE}; SET LOCAL statement_timeout = '15s';
SELECT set_config('{TENANT_SETTING}', %s, true)
"""
_RIGHTS = {
    "tenants": "SELECT, UPDATE (name)",  # submissions lock the row
    "influencers": "SELECT, INSERT, UPDATE",
    "datasets": "SELECT",
    "lora_configs": "SELECT",
    "loras": "SELECT",
    "jobs": "SELECT, INSERT, UPDATE",
    "job_batches": "SELECT, INSERT",
    "media_assets": "SELECT",
    "gpu_shares": "SELECT, UPDATE",  # a cancelled job pays for its render
    "users": "SELECT (id, tenant_id, email, role, created_at, signed_in_at)",
    "api_keys": "SELECT, INSERT, UPDATE (revoked_at)",
    "audit_entries": "SELECT, INSERT",
}
"""What the role may do with each table; with all others, nothing."""


def confine(engine: Engine) -> None:
    """Let every transaction of an engine, and of those made from it, run under the API's role.

    It sees the tenant of `tenant_engine`, and without one nothing at all.
    """
    event.listen(engine, "begin", _enter_role)


def tenant_engine(engine: Engine, tenant: str) -> Engine:
    """Return an engine on the same connections whose transactions see one tenant."""
    return engine.execution_options(**{_OPTION: check_part(tenant, "tenant")})


def _enter_role(connection: Connection) -> None:
    tenant = connection.get_execution_options().get(_OPTION, "")
    connection.exec_driver_sql(_ENTER_ROLE, (tenant,))


def prepare_api_role(url: str) -> None:
    """Create the API's role if it is missing, and give it its rights; again changes nothing.

    Roles belong to the server and are in no dump: call it after a restore too.

    Args:
        url: DATABASE_URL, whose user owns the tables.

    Raises:
        TransientError: PostgreSQL is unavailable.
        PermanentError: the user may not create the role, or the role may see every row; the text
            has the statements for an administrator.
    """
    engine = create_catalog_engine(url)
    try:
        with database_errors(), engine.begin() as connection:
            _create_role(connection)
            _become_member(connection)
            _check_confined(connection)
            schema = connection.execute(text("SELECT quote_ident(current_schema())")).scalar_one()
            connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {API_ROLE}"))
            connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {API_ROLE}"))
            for table, rights in _RIGHTS.items():
                connection.execute(text(f"GRANT {rights} ON {table} TO {API_ROLE}"))
    finally:
        engine.dispose()


def check_api_role(engine: Engine) -> None:
    """Make sure that the user may become the role.

    Raises:
        TransientError: PostgreSQL is unavailable.
        PermanentError: the role is missing, or the user does not belong to it.
    """
    with database_errors(), engine.begin() as connection:
        if not _is_member(connection):
            raise PermanentError(
                f"The role {API_ROLE} is missing, or the user of DATABASE_URL does not belong to "
                "it: run `influencerai migrate`"
            )


def _create_role(connection: Connection) -> None:
    exists = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
    if connection.execute(exists, {"role": API_ROLE}).scalar() is not None:
        return
    with _refusals(connection):
        connection.execute(text(f"CREATE ROLE {API_ROLE} NOLOGIN NOINHERIT"))


def _become_member(connection: Connection) -> None:
    if _is_member(connection):
        return
    with _refusals(connection):
        connection.execute(text(f"GRANT {API_ROLE} TO CURRENT_USER"))


def _is_member(connection: Connection) -> bool:
    # PostgreSQL 15 has no pg_has_role(…, 'SET').
    try:
        with connection.begin_nested():
            connection.execute(text(f"SET LOCAL ROLE {API_ROLE}"))
            connection.execute(text("RESET ROLE"))
    except DBAPIError:
        return False
    return True


def _check_confined(connection: Connection) -> None:
    sees_all = text("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = :role")
    if connection.execute(sees_all, {"role": API_ROLE}).scalar_one():
        raise PermanentError(
            f"The role {API_ROLE} sees the rows of every tenant. Let an administrator run: ALTER "
            f"ROLE {API_ROLE} NOSUPERUSER NOBYPASSRLS"
        )


@contextmanager
def _refusals(connection: Connection) -> Iterator[None]:
    user = connection.execute(text("SELECT quote_ident(current_user)")).scalar_one()
    try:
        with connection.begin_nested():
            yield
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _REFUSED:
            raise
        raise PermanentError(
            f"The role {API_ROLE} of the tenants' API cannot be made: user {user} may not. Let an "
            f"administrator run: CREATE ROLE {API_ROLE} NOLOGIN NOINHERIT; GRANT {API_ROLE} TO "
            f"{user}; and then repeat `influencerai migrate`. Only `influencerai api` needs it"
        ) from None
