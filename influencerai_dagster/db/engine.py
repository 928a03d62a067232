"""Connect to the catalog and run transactions; database errors become ours here.

All callers use `transaction`: one `with` block is one transaction. Its errors are TransientError
(the server is unavailable, full, or rolled the transaction back: the same block may work later) or
PermanentError (a constraint, a bad value, a missing table: it will not).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, event, func, select
from sqlalchemy import exc as sqlalchemy_errors
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.orm import Session

from influencerai_dagster.core.database_urls import libpq_parameters
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.program_environment import ignore_postgres_variables

# Options of the URL override these.
_CONNECT_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # keepalive does not count while an answer is awaited
}
# Set in every transaction, not once in a connection: a pooler (PgBouncer) refuses `options`, and
# gives every transaction another of its connections to the server.
_SET_IN_EVERY_TRANSACTION = """
SET LOCAL TIME ZONE 'UTC'; SET LOCAL idle_in_transaction_session_timeout = '60s'
"""

# Which errors are transient, by PostgreSQL's code (SQLSTATE, appendix A of its documentation): a
# class of two characters, or a whole code. psycopg2's classes do not say: a server that is
# read-only for a short time is an InternalError, and so is damaged data.
_TRANSIENT = (
    *("08", "40", "53", "57", "58"),  # connection, undone, no resources, ended by an operator, I/O
    "25006",  # read-only: a standby, or a primary that is being replaced
    *("25P03", "25P04"),  # the transaction was idle or took too long
    *("55006", "55P03"),  # in use, a lock was not free
    "XX000",  # an internal error: the cause is not known
)
_PERMANENT = ("57P04",)  # the database was dropped
# After these, the other connections of the pool are useless too: they lead to a server that stops,
# or that is no longer the primary.
_POOL_IS_OLD = ("08", "57P01", "57P02", "57P03", "25006")

# libpq gives no code when it cannot connect, only a text.
_REFUSED_FOR_GOOD = re.compile(
    r'password authentication failed|database "[^"]*" does not exist'
    r'|role "[^"]*" does not exist|no pg_hba\.conf entry|unsupported startup parameter'
    r"|no password supplied|server does not support SSL|certificate verify failed"
)

_LIBPQ_ADVICE = re.compile(r"\s*Is the server running[^?]*\?")

_CONSTRAINTS = {
    "uq_lora_configs_default": "the tenant has another default LoRA configuration; "
    "make that one not the default first",
    "uq_influencers_tenant_id_dataset": "another influencer of the tenant has this dataset",
    "uq_loras_tenant_id_recipe_version": "a LoRA of this recipe is recorded already",
    "uq_jobs_tenant_id_idempotency_key": "a job with this idempotency key exists already",
    "uq_media_assets_job_id": "the job has a media asset already",
    "uq_media_assets_object_key": "another job has stored its output under this object key",
}


def create_catalog_engine(url: str, *, application_name: str = "influencerai") -> Engine:
    """Make the connection pool of one process; nothing is connected yet.

    Every transaction answers in UTC, a connection is tested before use, notices a silently dead
    server within a minute, and does not hold locks for a caller that stopped in the middle of a
    transaction. After a failover all connections are made again.

    Args:
        url: DATABASE_URL, `postgresql://…`; libpq itself reads it, and its options are kept.
        application_name: what pg_stat_activity shows.
    """
    ignore_postgres_variables()
    engine = create_engine(
        "postgresql+psycopg2://",
        pool_pre_ping=True,
        connect_args={
            **_CONNECT_DEFAULTS,
            "application_name": application_name,
            **libpq_parameters(url),
            "client_encoding": "UTF8",
        },
    )
    event.listen(engine, "begin", _set_up_transaction)
    event.listen(engine, "handle_error", _renew_pool)
    return engine


def _set_up_transaction(connection: Connection) -> None:
    driver = connection.connection.dbapi_connection
    # The driver knows; `get_isolation_level` would query the server in every transaction.
    if driver is not None and not driver.autocommit:
        connection.exec_driver_sql(_SET_IN_EVERY_TRANSACTION)


def _renew_pool(context: ExceptionContext) -> None:
    """Let SQLAlchemy close all connections after an error that concerns all of them."""
    if (_sqlstate(context.original_exception) or "").startswith(_POOL_IS_OLD):
        context.is_disconnect = True


@contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """Run one transaction: committed when the block ends, rolled back when it raises.

    Raises:
        TransientError: the server is unavailable, read-only for a failover, has no connection left,
            or rolled the transaction back (deadlock, serialization). Nothing was written, unless
            the connection broke during the commit itself: for that case, functions of this package
            may be repeated.
        PermanentError: the database refused what the block wrote; nothing was written.
    """
    with database_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
        yield session


@contextmanager
def one_at_a_time(engine: Engine, what: str) -> Iterator[None]:
    """Run the block while no other process runs one of the same name; the others wait for it.

    Args:
        what: the name. The block must end within the minute after which an idle transaction is
            ended, and with it the lock.
    """
    lock = select(func.pg_advisory_xact_lock(func.hashtextextended(what, 0)))
    with transaction(engine) as session:
        session.execute(lock)
        yield


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn SQLAlchemy's errors of the block into ours."""
    try:
        yield
    except sqlalchemy_errors.DBAPIError as error:
        raise _translated(error) from error
    except sqlalchemy_errors.TimeoutError as error:
        raise TransientError(
            "the catalog has no free connection in this process; retry, or claim fewer jobs at "
            f"once ({error.args[0]})"
        ) from error


def _translated(error: sqlalchemy_errors.DBAPIError) -> InfluencerAIError:
    # Only the driver's own text: SQLAlchemy's also holds statement and parameters.
    found = " ".join(str(error.orig).split())
    code = _sqlstate(error.orig)
    if code is None:
        return _without_code(error, found)
    if code.startswith(_TRANSIENT) and code not in _PERMANENT:
        return _unavailable(found)
    if code.startswith("23"):
        return _refused_row(error, found)
    if code.startswith(("28", "3D")):
        return _refused_login(found)
    if code in {"42P01", "42703"}:
        return PermanentError(
            f"The catalog's tables are not up to date: {found}. Run `influencerai migrate`"
        )
    return PermanentError(f"PostgreSQL refused a value or a statement: {found}")


def _sqlstate(error: BaseException | None) -> str | None:
    code = getattr(error, "pgcode", None)
    return str(code) if code else None


def _without_code(error: sqlalchemy_errors.DBAPIError, found: str) -> InfluencerAIError:
    """Return our error for a failure of the driver, which has no code of the server."""
    is_away = isinstance(
        error, sqlalchemy_errors.OperationalError | sqlalchemy_errors.InterfaceError
    )
    if is_away and _REFUSED_FOR_GOOD.search(found):
        return _refused_login(found)
    if is_away and "connection to server" in found:
        return TransientError(
            f"PostgreSQL cannot be reached: {_LIBPQ_ADVICE.sub('', found)}. Check that it runs, "
            "and that DATABASE_URL names it"
        )
    if is_away:
        return _unavailable(found)
    if error.connection_invalidated:
        return TransientError(f"The connection to PostgreSQL broke: {found}. Retry.")
    return PermanentError(f"PostgreSQL refused a value or a statement: {found}")


def _unavailable(found: str) -> TransientError:
    return TransientError(
        f"PostgreSQL is unavailable or rolled the transaction back: {found}. Retry."
    )


def _refused_login(found: str) -> PermanentError:
    return PermanentError(
        f"PostgreSQL rejected the connection: {found}. Check user, password, database "
        "and options in DATABASE_URL, and PGPASSFILE and PGSSLMODE in the environment."
    )


def _refused_row(error: sqlalchemy_errors.DBAPIError, found: str) -> PermanentError:
    diagnostics = getattr(error.orig, "diag", None)
    words = _CONSTRAINTS.get(getattr(diagnostics, "constraint_name", None) or "")
    if words is None:
        return PermanentError(f"The catalog refused a row: {found}")
    detail = getattr(diagnostics, "message_detail", None) or ""
    return PermanentError(f"The catalog refused a row: {words}. {detail}".rstrip())
