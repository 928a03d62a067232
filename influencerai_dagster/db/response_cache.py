"""Answers of language models that a tenant paid for before, as the engines ask for them."""

from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock

from sqlalchemy import Engine

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.llm_answers import BATCH, delete_expired, get_answer, put_answer
from influencerai_dagster.retry import (
    retry_transient,
)


@dataclass
class ResponseCache:
    """One tenant's answers; safe between threads.

    Attributes:
        keep_for: OPENROUTER_CACHE_TTL.
        only_in_run: a run whose answers these are alone; "" is every run.
        retry_for_seconds: how long an answer, which is paid for, waits for PostgreSQL.
        num_found: how many were there when they were asked for.
    """

    engine: Engine
    tenant: str
    keep_for: timedelta
    only_in_run: str = ""
    retry_for_seconds: float = 120.0
    num_found: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def get(self, key: str) -> str | None:
        """Return the answer to what has this hash; TransientError if PostgreSQL is away."""
        with transaction(self.engine) as session:
            answer = get_answer(session, self.tenant, self._own(key))
        if answer is not None:
            with self._lock:
                self.num_found += 1
        return answer

    def put(self, key: str, text: str) -> None:
        """Keep an answer; TransientError if PostgreSQL stays away."""

        def put() -> None:
            with transaction(self.engine) as session:
                put_answer(session, self.tenant, self._own(key), text, self.keep_for)

        retry_transient(put, retry_for_seconds=self.retry_for_seconds)

    def _own(self, key: str) -> str:
        return sha256_hex(f"{self.only_in_run} {key}".encode()) if self.only_in_run else key


def delete_expired_answers(engine: Engine) -> int:
    """Delete every tenant's answers that have expired, but of those on hold; return how many."""
    total = 0
    while True:
        with transaction(engine) as session:
            deleted = delete_expired(session)
        total += deleted
        if deleted < BATCH:
            return total
