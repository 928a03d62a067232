"""What the database says when it cannot, and what we make of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.orm import Session

from influencerai_dagster.backup.database.wal_lag import postgres_cursor
from influencerai_dagster.core.database_urls import database_url, libpq_parameters
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.tenants import add_tenant, list_tenants, require_tenant
from influencerai_dagster.errors import InfluencerAIError, PermanentError, TransientError
from influencerai_dagster.local.postgres import PostgresServer

Connect = Callable[..., Engine]


@pytest.fixture
def connect(catalog_url: str) -> Iterator[Connect]:
    """Return an engine of the test's own, with parts of the URL changed."""
    engines: list[Engine] = []

    def make(
        database: str | None = None,
        username: str | None = None,
        password: str | None = None,
        sslmode: str = "prefer",
    ) -> Engine:
        url = make_url(catalog_url).set(database=database, username=username, password=password)
        url = url.update_query_dict({"sslmode": sslmode})
        text_url = url.render_as_string(hide_password=False)
        engines.append(create_catalog_engine(text_url, application_name="influencerai-test"))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def test_what_a_block_wrote_is_undone_when_it_raises(engine: Engine) -> None:
    def add_and_fail() -> None:
        with transaction(engine) as session:
            add_tenant(session, "third")
            raise KeyError

    with pytest.raises(KeyError):
        add_and_fail()
    with transaction(engine) as session, pytest.raises(PermanentError, match="'third' is unknown"):
        require_tenant(session, "third")


def test_times_are_utc_whatever_the_server_thinks(engine: Engine) -> None:
    with transaction(engine) as session:
        tenant = list_tenants(session)[0]
    assert tenant.created_at.utcoffset() == timedelta(0)


def test_a_transaction_asks_the_server_for_nothing_but_its_work(
    connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every claim of a job would pay for a question about the connection itself."""
    engine = connect()

    def fail(_: object) -> str:
        raise AssertionError("the server was asked for the isolation level")

    with transaction(engine) as session:
        list_tenants(session)  # SQLAlchemy asks once, when it connects first
    monkeypatch.setattr(engine.dialect, "get_isolation_level", fail)
    with transaction(engine) as session:
        assert session.execute(text("SHOW timezone")).scalar_one() == "UTC"


def test_connections_carry_the_name_of_their_program(connect: Connect) -> None:
    with transaction(connect()) as session:
        assert session.scalar(text("SHOW application_name")) == "influencerai-test"


def test_the_options_of_the_url_are_kept(catalog_url: str) -> None:
    engine = create_catalog_engine(
        f"{catalog_url}?options=-csearch_path%3Dinfl&application_name=mine&connect_timeout=3"
    )
    with transaction(engine) as session:
        assert session.scalar(text("SHOW search_path")) == "infl"
        assert session.scalar(text("SHOW application_name")) == "mine"
    with engine.connect() as connection:
        asked: Any = connection.connection.driver_connection
        assert asked.get_dsn_parameters()["connect_timeout"] == "3"
        assert asked.get_dsn_parameters()["keepalives_idle"] == "30"
    engine.dispose()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("PGHOSTADDR", "192.0.2.1"), ("PGSERVICE", "nosuch"), ("PGOPTIONS", "-c nothing=1")),
        *(("PGCLIENTENCODING", "LATIN1"), ("PGTARGETSESSIONATTRS", "standby")),
    ],
)
def test_the_environment_does_not_change_where_the_url_leads(
    catalog_url: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    engine = create_catalog_engine(catalog_url)
    with transaction(engine) as session:
        assert session.scalar(text("SELECT '日本'")) == "日本"
    engine.dispose()
    with postgres_cursor(catalog_url) as cursor:
        cursor.execute("SELECT 1")


def test_of_several_servers_the_one_that_answers_is_used(
    catalog_url: str, postgres_server: PostgresServer
) -> None:
    own = libpq_parameters(catalog_url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        several = {
            "host": "127.0.0.1,127.0.0.1",
            "port": f"{nobody.getsockname()[1]},{postgres_server.port}",
            "target_session_attrs": "read-write",
        }
        engine = create_catalog_engine(database_url({**own, **several}))
        with transaction(engine) as session:
            assert list_tenants(session) is not None
        engine.dispose()


def test_a_server_that_is_away_is_a_passing_failure() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening
        engine = create_catalog_engine(
            f"postgresql://user:hidden-word@127.0.0.1:{nobody.getsockname()[1]}/catalog"
        )
        with (
            pytest.raises(TransientError, match="PostgreSQL cannot be reached") as caught,
            transaction(engine) as session,
        ):
            list_tenants(session)
    assert "hidden-word" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"database": "nowhere"},
        {"username": "nobody"},
        {"password": "wrong"},
        {"password": ""},
        {"sslmode": "require"},
    ],
    ids=["database", "user", "password", "no password", "TLS"],
)
def test_what_the_server_does_not_know_stays_a_failure(
    connect: Connect, changes: dict[str, str]
) -> None:
    with (
        pytest.raises(
            PermanentError, match=r"rejected the connection: .*(failed|exist).* DATABASE_URL"
        ),
        transaction(connect(**changes)) as session,
    ):
        list_tenants(session)


def test_too_many_clients_are_a_passing_failure(engine: Engine, connect: Connect) -> None:
    with transaction(engine) as session:
        session.execute(text("CREATE ROLE crowded LOGIN PASSWORD 'crowd' CONNECTION LIMIT 0"))
    try:
        with (
            pytest.raises(TransientError, match="too many connections"),
            transaction(connect(username="crowded", password="crowd")) as session,  # noqa: S106 - of this test
        ):
            list_tenants(session)
    finally:
        with transaction(engine) as session:
            session.execute(text("DROP ROLE crowded"))


def test_a_connection_that_breaks_is_a_passing_failure_and_the_next_one_works(
    engine: Engine, connect: Connect
) -> None:
    own = connect()

    def lose_the_connection() -> None:
        with transaction(own) as session:
            _break(engine, session)
            list_tenants(session)

    with pytest.raises(TransientError, match=r"terminating connection|closed the connection"):
        lose_the_connection()
    with transaction(own) as session:
        assert list_tenants(session)


def test_an_idle_connection_that_broke_is_replaced_unseen(engine: Engine, connect: Connect) -> None:
    own = connect()
    with transaction(own) as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
    with transaction(engine) as session:
        session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    with transaction(own) as session:
        assert list_tenants(session)


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        ("08006", TransientError),
        ("25006", TransientError),
        ("40001", TransientError),
        ("53300", TransientError),
        ("57014", TransientError),
        ("57P01", TransientError),
        ("57P03", TransientError),
        ("XX000", TransientError),
        ("57P04", PermanentError),
        ("22023", PermanentError),
        ("23514", PermanentError),
        ("42501", PermanentError),
        ("XX001", PermanentError),
    ],
)
def test_postgresqls_code_tells_whether_a_failure_passes(
    engine: Engine, code: str, error_class: type[InfluencerAIError]
) -> None:
    raises = f"DO $$ BEGIN RAISE EXCEPTION 'for a test' USING ERRCODE = '{code}'; END $$"
    with (
        pytest.raises(error_class, match="for a test"),
        transaction(engine) as session,
    ):
        session.execute(text(raises))


@pytest.mark.usefixtures("engine")
def test_after_a_failover_no_connection_of_before_is_used(connect: Connect) -> None:
    own = connect()
    with transaction(own) as session, transaction(own) as another:
        before = {one.scalar(text("SELECT pg_backend_pid()")) for one in (session, another)}
        for one in (session, another):
            one.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))
    with (
        pytest.raises(TransientError, match="read-only transaction"),
        transaction(own) as session,
    ):
        add_tenant(session, "third")
    with transaction(own) as session, transaction(own) as another:
        after = {one.scalar(text("SELECT pg_backend_pid()")) for one in (session, another)}
        add_tenant(session, "third")
    assert not before & after


def test_a_deadlock_is_a_passing_failure_of_one_side(engine: Engine) -> None:
    barrier = threading.Barrier(2, timeout=10)

    def touch(order: tuple[str, str]) -> InfluencerAIError | None:
        statement = text("UPDATE tenants SET name = name WHERE id = :id")
        try:
            with transaction(engine) as session:
                session.execute(text("SET LOCAL deadlock_timeout = '20ms'"))
                session.execute(statement, {"id": order[0]})
                barrier.wait()
                session.execute(statement, {"id": order[1]})
        except InfluencerAIError as error:
            return error
        return None

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(touch, [("demo", "other"), ("other", "demo")]))
    (loser,) = [outcome for outcome in outcomes if outcome is not None]
    assert isinstance(loser, TransientError)
    assert "deadlock" in str(loser)


def test_a_value_that_postgresql_cannot_hold_stays_a_failure(engine: Engine) -> None:
    with (
        pytest.raises(PermanentError, match="refused a value"),
        transaction(engine) as session,
    ):
        session.execute(text("SELECT CAST('yesterday or so' AS date)"))


def test_a_row_that_leaves_its_tenant_is_refused_by_the_database(engine: Engine) -> None:
    statement = text(
        "INSERT INTO datasets (tenant_id, id, version, manifest_key, num_images, num_rejected)"
        " VALUES ('demo', 'bella', 'v', 'datasets/other/bella/manifest.json', 1, 0)"
    )
    with (
        pytest.raises(PermanentError, match="ck_datasets_manifest_key_of_tenant"),
        transaction(engine) as session,
    ):
        session.execute(statement)


def _break(engine: Engine, session: Session) -> None:
    pid = session.scalar(text("SELECT pg_backend_pid()"))
    with transaction(engine) as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
