"""Check what the API needs: the database, its tables, the bucket."""

import logging
import time
from collections.abc import Callable, Mapping
from threading import Lock

from sqlalchemy import Engine, text

from influencerai_dagster.db.api_role import check_api_role
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.migrate import head_revision
from influencerai_dagster.errors import InfluencerAIError, PermanentError
from influencerai_dagster.storage.object_store import ObjectStore

OK = "ok"
_KEPT_SECONDS = 2.0
"""Probes come from everybody: the servers are asked once in this time."""
_log = logging.getLogger(__name__)


class Readiness:
    """The checks by name, and what they found a moment ago."""

    def __init__(self, engine: Engine, store: ObjectStore) -> None:
        """Make the checks; nothing is asked yet."""
        self._checks: Mapping[str, Callable[[], None]] = {
            "database": lambda: _ask(engine),
            "migrations": lambda: _check_revision(engine),
            "tenant_isolation": lambda: check_api_role(engine),
            "object_store": lambda: _check_bucket(store),
        }
        self._found: dict[str, tuple[float, str]] = {}
        self._lock = Lock()

    def database(self) -> str:
        """Return "ok", or "failed" if the database does not answer."""
        return self._result("database")

    def all(self) -> dict[str, str]:
        """Return "ok" or "failed" for every check."""
        return {name: self._result(name) for name in self._checks}

    def _result(self, name: str) -> str:
        with self._lock:  # one question at a time, however many ask
            asked_at, found = self._found.get(name, (float("-inf"), OK))
            if time.monotonic() - asked_at < _KEPT_SECONDS:
                return found
            found = _run(name, self._checks[name])
            self._found[name] = (time.monotonic(), found)
            return found


def _run(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except InfluencerAIError as error:
        _log.warning("%s is not ready: %s", name, error)  # it may name hosts: not for the caller
        return "failed"
    return OK


def _ask(engine: Engine) -> None:
    with transaction(engine) as session:
        session.execute(text("SELECT 1"))


def _check_revision(engine: Engine) -> None:
    with transaction(engine) as session:
        found = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found != head_revision():
        raise PermanentError(
            f"The catalog is at revision {found!r}, this release needs {head_revision()!r}: run "
            "`influencerai migrate`"
        )


def _check_bucket(store: ObjectStore) -> None:
    next(iter(store.list("health/")), None)
