"""Migrate the catalog's tables to the newest revision of `migrations/versions/`.

Not for the hot path: it imports Alembic.
"""

import re

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from influencerai_dagster.core.database_urls import database_name, in_database
from influencerai_dagster.db.engine import create_catalog_engine, database_errors
from influencerai_dagster.errors import PermanentError

MIN_SERVER_VERSION = 15
_ADVISORY_LOCK = 0x1AF1_0001  # any number that no other lock of the database uses
_DATABASE_EXISTS = {"42P04", "23505"}  # the second when two create it at the same moment


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "influencerai_dagster.db:migrations")
    return config


def head_revision() -> str:
    """Return the newest revision that this code knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise PermanentError(
            "No migration was found in db/migrations/versions/: the package is not complete. "
            "Install it again"
        )
    return head


def current_revision(url: str) -> str | None:
    """Return the revision of the database, or None if it was never migrated.

    Raises:
        TransientError: PostgreSQL is unavailable.
        PermanentError: PostgreSQL rejected the connection.
    """
    engine = create_catalog_engine(url)
    try:
        with database_errors(), engine.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()


def upgrade(url: str, revision: str = "head") -> None:
    """Migrate the database to a revision: all of it or nothing.

    Several processes may start at once: one migrates, the others wait for it.

    Args:
        url: DATABASE_URL.
        revision: the newest by default.

    Raises:
        TransientError: PostgreSQL is unavailable.
        PermanentError: the server is older than 15, the database is not in UTF8, or its tables are
            of a newer release.
    """
    engine = create_catalog_engine(url)
    try:
        with database_errors(), engine.begin() as connection:
            # Released by the end of the transaction, also when this process dies.
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            check_database(connection)
            _check_revision(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    finally:
        engine.dispose()


def check_database(connection: Connection) -> str:
    """Make sure that a database can hold what we write; return the server's version.

    Raises:
        PermanentError: the server is too old, or the database cannot hold every language.
    """
    version, number, encoding, name = connection.execute(
        text(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int,"
            " current_setting('server_encoding'), current_database()"
        )
    ).one()
    if number // 10_000 < MIN_SERVER_VERSION:
        raise PermanentError(f"PostgreSQL {version} is too old: use {MIN_SERVER_VERSION} or newer")
    if encoding != "UTF8":
        raise PermanentError(
            f"Database {name!r} has the encoding {encoding}, which cannot hold names and prompts "
            "of every language: make another one with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE "
            "template0, and name it in the URL"
        )
    return str(version)


def _check_revision(connection: Connection) -> None:
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
    if revision is not None and revision not in known:
        raise PermanentError(
            f"The catalog is at revision {revision!r}, which this release does not know: it was "
            f"migrated by a newer one. Install that, or restore a backup (newest known: "
            f"{head_revision()!r})"
        )


def ensure_database(url: str) -> bool:
    """Create the database that `url` names if it is not there; for the local stack only.

    Returns:
        Whether it was created now.

    Raises:
        TransientError: PostgreSQL is unavailable.
        PermanentError: the URL names no database, or the user may not create one.
    """
    name = database_name(url)
    if not name or re.search(r"[\x00-\x1f]", name):
        raise PermanentError("DATABASE_URL names no database: add its name after the last '/'")
    engine = create_catalog_engine(in_database(url, "postgres"))
    try:
        with (
            database_errors(),
            engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        ):
            exists = text("SELECT 1 FROM pg_database WHERE datname = :name")
            if connection.execute(exists, {"name": name}).scalar() is not None:
                return False
            return _create_database(connection, name)
    finally:
        engine.dispose()


def _create_database(connection: Connection, name: str) -> bool:
    quoted = connection.dialect.identifier_preparer.quote_identifier(name)
    try:
        connection.exec_driver_sql(f"CREATE DATABASE {quoted} ENCODING 'UTF8' TEMPLATE template0")
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) not in _DATABASE_EXISTS:
            raise
        return False  # another starter was quicker
    return True
