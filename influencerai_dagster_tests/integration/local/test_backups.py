"""Whether the receiver of WAL lives, as PostgreSQL tells it."""

from influencerai_dagster.local.services import wal_receiver
from influencerai_dagster_tests.testing.ports import free_port


def is_alive(database_url: str) -> bool:
    service = wal_receiver({"DATABASE_URL": database_url})
    assert service.is_alive is not None
    return service.is_alive()


def test_a_receiver_that_no_server_knows_is_not_alive(postgres_url: str) -> None:
    assert not is_alive(postgres_url)


def test_while_postgresql_is_away_it_cannot_be_told() -> None:
    assert is_alive(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing")
