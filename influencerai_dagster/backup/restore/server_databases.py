"""Make staging databases on a server and rename them when they are complete.

No database is overwritten; only staging databases of an earlier restore are dropped:

    <name>_restoring                    a staging database
    <name>_replaced_<YYYYmmddTHHMMSSZ>  the database that had the name before

Renaming is one transaction: both databases get their names or none does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from psycopg2 import errors, sql
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - a class

from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.core.database_urls import database_name, in_database, libpq_parameters
from influencerai_dagster.errors import PermanentError

_STAGING = "_restoring"
_REPLACED = "_replaced_%Y%m%dT%H%M%SZ"
_MAX_NAME_BYTES = 63
_OURS = "a restore by influencerai that has not ended"
_USER = """
SELECT current_user, rolcreatedb OR rolsuper, current_setting('server_version_num')::int / 10000
FROM pg_roles WHERE rolname = current_user
"""
_CLIENTS = """
SELECT COALESCE(NULLIF(application_name, ''), 'a client without a name'), count(*)
FROM pg_stat_activity
WHERE datname = %s AND pid <> pg_backend_pid() AND backend_type IN ('client backend', 'walsender')
GROUP BY 1 ORDER BY 2 DESC, 1
"""
_DATABASE = """
SELECT rolname, pg_has_role(datdba, 'USAGE'), shobj_description(pg_database.oid, 'pg_database')
FROM pg_database JOIN pg_roles ON pg_roles.oid = datdba WHERE datname = %s
"""
_HAS_CONTENT = """
SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
               WHERE nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast'))
"""
_MAY_OWN = "SELECT pg_has_role(oid, 'USAGE') FROM pg_roles WHERE rolname = %s"


def staging_name(name: str) -> str:
    """Return the name of the staging database for a database."""
    return f"{name}{_STAGING}"


@dataclass(frozen=True)
class ServerDatabases:
    """The databases of a server.

    Attributes:
        url: of a database that is not renamed, to connect to.
    """

    url: str = field(repr=False)

    def __str__(self) -> str:
        parameters = libpq_parameters(self.url)
        where, port = parameters.get("host") or "a local socket", parameters.get("port")
        return f"{where}{f':{port}' if port else ''}"

    def url_of(self, name: str) -> str:
        """Return the URL of one of them."""
        return in_database(self.url, name)

    def problem(self, names: Sequence[str], major_version: int, *, is_forced: bool) -> str | None:
        """Return why databases of these names may not be made, or None if they may.

        Args:
            names: their final names.
            major_version: of the PostgreSQL that was backed up.
            is_forced: databases with these names may be renamed.
        """
        with postgres_cursor(self.url) as cursor:
            cursor.execute(_USER)
            user, may_create, version = cursor.fetchone() or ("?", False, 0)
            if version < major_version:
                return (
                    f"{self} is PostgreSQL {version}, the backup is of PostgreSQL {major_version}: "
                    f"name a server of version {major_version} or newer"
                )
            if not may_create:
                return (
                    f"User {user} may not create databases on {self}: ALTER ROLE {user} CREATEDB, "
                    "or connect as another user"
                )
            problems = (self._problem_of(cursor, name, is_forced=is_forced) for name in names)
            return next((problem for problem in problems if problem is not None), None)

    def unowned(self, owners: Sequence[str]) -> list[str]:
        """Return the users that cannot be made the owner of a database."""
        with postgres_cursor(self.url) as cursor:
            return [owner for owner in owners if not _may_own(cursor, owner)]

    def has_content(self, name: str) -> bool:
        """Tell whether a database exists and has tables."""
        with postgres_cursor(self.url) as cursor:
            return _found(cursor, name) is not None and self._is_filled(name)

    def have_staging(self, names: Sequence[str]) -> bool:
        """Tell whether all staging databases are there."""
        with postgres_cursor(self.url) as cursor:
            return all(_found(cursor, staging_name(name)) is not None for name in names)

    def make_staging(self, name: str, owner: str | None) -> None:
        """Make an empty staging database; one of an earlier try is dropped.

        Args:
            name: its final name.
            owner: of the database and its tables, if the server has this user and we may act for
                them; otherwise the connected user is the owner.
        """
        staging = sql.Identifier(staging_name(name))
        with postgres_cursor(self.url) as cursor:
            cursor.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(staging))
            cursor.execute(
                sql.SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(staging)
            )
            mark = sql.SQL("COMMENT ON DATABASE {} IS {}")
            cursor.execute(mark.format(staging, sql.Literal(_OURS)))
            if owner and _may_own(cursor, owner):
                role = sql.Identifier(owner)
                for text in ("ALTER DATABASE {} OWNER TO {}", "ALTER DATABASE {} SET ROLE TO {}"):
                    cursor.execute(sql.SQL(text).format(staging, role))

    def promote(self, names: Sequence[str]) -> list[str]:
        """Rename all staging databases to their final names, or none.

        Returns:
            The new names of the databases that had these names.

        Raises:
            PermanentError: clients are connected to one of them; nothing was renamed.
        """
        stamp, moved = datetime.now(UTC).strftime(_REPLACED), []
        with postgres_cursor(self.url) as cursor:
            try:
                cursor.execute("BEGIN")
                for name in names:
                    if _found(cursor, name) is not None:
                        moved.append(f"{name}{stamp}")
                        _rename(cursor, name, moved[-1])
                    _rename(cursor, staging_name(name), name)
                    for text in ("COMMENT ON DATABASE {} IS NULL", "ALTER DATABASE {} RESET ROLE"):
                        cursor.execute(sql.SQL(text).format(sql.Identifier(name)))
                cursor.execute("COMMIT")
            except errors.ObjectInUse as error:
                cursor.execute("ROLLBACK")
                used = (
                    self._connected(cursor, item)
                    for name in names
                    for item in (name, staging_name(name))
                )
                text = next((item for item in used if item), " ".join(str(error).split()))
                raise PermanentError(text) from error
        return moved

    def _problem_of(self, cursor: Cursor, name: str, *, is_forced: bool) -> str | None:
        if len(f"{name}{datetime.now(UTC).strftime(_REPLACED)}".encode()) > _MAX_NAME_BYTES:
            return f"The name {name} is too long: the replaced database needs a longer one"
        staging, found = _found(cursor, staging_name(name)), _found(cursor, name)
        if staging is not None and staging[2] != _OURS and self._is_filled(staging_name(name)):
            return (
                f"Database {staging_name(name)} on {self} already exists and was not created by "
                "`influencerai restore`. Rename or drop it, then restore again"
            )
        connected = self._connected(cursor, name)
        if found is None or connected is not None:
            return connected
        owner, is_ours, _ = found
        if not is_ours:
            return f"Database {name} on {self} belongs to {owner}: connect as that user"
        if not is_forced and self._is_filled(name):
            return (
                f"Database {name} on {self} is not empty: name another server with --into, or use "
                "--force, which renames it"
            )
        return None

    def _connected(self, cursor: Cursor, name: str) -> str | None:
        cursor.execute(_CLIENTS, [name])
        clients = ", ".join(f"{client} ({number})" for client, number in cursor.fetchall())
        if not clients:
            return None
        return (
            f"Clients are connected to database {name} on {self}: {clients}. Stop them first, also "
            "with --force"
        )

    def _is_filled(self, name: str) -> bool:
        with postgres_cursor(self.url_of(name)) as cursor:
            cursor.execute(_HAS_CONTENT)
            return bool((cursor.fetchone() or (True,))[0])


def server_at(url: str, names: Sequence[str]) -> ServerDatabases:
    """Return the databases of the server that a URL names.

    Raises:
        PermanentError: it is not the URL of a PostgreSQL server.
    """
    try:
        own = database_name(url)
    except ValueError as error:
        raise PermanentError(
            "--into is not the URL of a server: write postgresql://user@host:5432/"
        ) from error
    usable = (name for name in (own, "postgres", "template1") if name)
    stays = next(name for name in usable if name not in names)
    return ServerDatabases(in_database(url, stays))


def _found(cursor: Cursor, name: str) -> tuple[str, bool, str | None] | None:
    """Return a database's owner, whether we may act for them, and its comment."""
    cursor.execute(_DATABASE, [name])
    row = cursor.fetchone()
    return None if row is None else (row[0], row[1], row[2])


def _may_own(cursor: Cursor, owner: str) -> bool:
    cursor.execute(_MAY_OWN, [owner])
    return bool((cursor.fetchone() or (False,))[0])


def _rename(cursor: Cursor, name: str, new_name: str) -> None:
    statement = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    cursor.execute(statement.format(sql.Identifier(name), sql.Identifier(new_name)))
