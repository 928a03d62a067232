"""What `doctor` says that a server can is what the server does."""

from influencerai_dagster.storage.abilities import Abilities, ask_abilities, other_address_style
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.servers import S3Server

EXPECTED = {
    "rclone": Abilities(refuses_second_writer=False, checks_checksums=False, etag_is_md5=True),
    "minio": Abilities(refuses_second_writer=True, checks_checksums=True, etag_is_md5=True),
}


def test_a_server_is_asked_what_it_can_and_nothing_stays(any_s3: S3Server) -> None:
    store = any_s3.store()
    assert ask_abilities(store) == EXPECTED.get(any_s3.name, ask_abilities(store))
    assert list(store.list("")) == []


def test_each_ability_and_each_lack_has_its_consequence() -> None:
    has = Abilities(refuses_second_writer=True, checks_checksums=True, etag_is_md5=True)
    lacks = Abilities(refuses_second_writer=False, checks_checksums=False, etag_is_md5=False)
    assert "S3_CHECKSUM_MODE=when_supported" in "\n".join(has.consequences())
    assert "leave S3_CHECKSUM_MODE=when_required" in "\n".join(lacks.consequences())
    assert "If-None-Match is ignored" in "\n".join(lacks.consequences())
    assert not {*has.consequences()} & {*lacks.consequences()}


def test_addresses_that_the_server_does_not_answer_are_named(any_s3: S3Server) -> None:
    store = any_s3.store()
    client = make_s3_client(
        endpoint_url=any_s3.endpoint_url.replace("127.0.0.1", "localhost"),
        access_key=any_s3.access_key,
        secret_key=any_s3.secret_key,
        region="us-east-1",
        path_style=False,
        checksum_mode="when_required",
    )
    said = other_address_style(store, ObjectStore(client, store.bucket), is_path_style=True)
    assert "by the path only: leave S3_FORCE_PATH_STYLE=true" in said
    assert "any S3_FORCE_PATH_STYLE" in other_address_style(store, store, is_path_style=True)
