"""The audit log: a chain that shows every change."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.db import audit
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError


def add(engine: Engine, number: int, tenant: str = "demo") -> None:
    with transaction(engine) as session:
        audit.record(
            session,
            tenant,
            actor="anna@example.com",
            action="jobs.submit",
            target=f"batch {number}",
            detail={"jobs": number, "kinds": ["image"]},
            address="192.0.2.1",
        )


def tampered(engine: Engine, statement: str) -> None:
    with transaction(engine) as session:
        session.execute(text("SET LOCAL session_replication_role = replica"))  # no triggers
        session.execute(text(statement))


def verify(engine: Engine, tenant: str = "demo") -> audit.AuditEntry | None:
    with transaction(engine) as session:
        return audit.verify(session, tenant)


def test_entries_of_many_at_once_are_one_chain(engine: Engine) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: add(engine, number), range(20)))
    newest = verify(engine)
    assert newest is not None
    assert newest.number == 20
    assert verify(engine, "other") is None


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit_entries SET actor = 'nobody' WHERE number = 2", "entry 2"),
        ("""UPDATE audit_entries SET detail = '{"jobs": 1}' WHERE number = 2""", "entry 2"),
        ("UPDATE audit_entries SET at = at + interval '1 s' WHERE number = 3", "entry 3"),
        ("DELETE FROM audit_entries WHERE number = 2", "entry 2 is missing"),
        ("DELETE FROM audit_entries WHERE number = 1", "entry 1 is missing"),
        ("UPDATE audit_entries SET tenant_id = 'other' WHERE number = 1", "entry 1 is missing"),
    ],
)
def test_a_change_is_found(engine: Engine, statement: str, found: str) -> None:
    for number in range(3):
        add(engine, number)
    tampered(engine, statement)
    with pytest.raises(PermanentError, match=found):
        verify(engine)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entries SET actor = 'nobody'",
        "DELETE FROM audit_entries",
        "TRUNCATE audit_entries",
    ],
)
def test_not_even_the_owner_of_the_table_changes_it(engine: Engine, statement: str) -> None:
    add(engine, 1)
    with pytest.raises(PermanentError, match="append-only"), transaction(engine) as session:
        session.execute(text(statement))
    assert verify(engine) is not None
