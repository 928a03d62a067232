"""Replace dead connections in Dagster's PostgreSQL pool before a request gets one.

Dagster keeps connections open in its web server and does not look whether they still are: after a
restart or a failover each of them would fail one request.
"""

from typing import Any

import psycopg2
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import QueuePool

_READ_ONLY = "25006"
_CONNECT_DEFAULTS = {
    "connect_timeout": 5,
    # A server that vanished answers nothing, not even that it is gone.
    "tcp_user_timeout": 5000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def replace_dead_connections() -> None:
    """Test every pooled connection of this process before it is used.

    Dagster makes the engines, without `pool_pre_ping`; this is the recipe for that case of
    https://docs.sqlalchemy.org/en/20/core/pooling.html#custom-legacy-pessimistic-ping.
    """
    for target, name, listener in LISTENERS:
        event.listen(target, name, listener)


def _notice_vanished_servers(
    _dialect: object, _record: object, _arguments: object, parameters: dict[str, Any]
) -> None:
    for name, value in _CONNECT_DEFAULTS.items():
        parameters.setdefault(name, value)


def _ping(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 - of the driver
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        # All others of the pool are as old; SQLAlchemy connects again.
        raise InvalidatePoolError from error


def _leave_read_only_server(context: ExceptionContext) -> None:
    """Connect again after a write was refused: the server is a former primary, or will be one."""
    if getattr(context.original_exception, "pgcode", None) == _READ_ONLY:
        context.is_disconnect = True


LISTENERS = (
    (Engine, "do_connect", _notice_vanished_servers),
    (Engine, "handle_error", _leave_read_only_server),
    (QueuePool, "checkout", _ping),
)
"""What SQLAlchemy calls for every engine of the process, and when."""
