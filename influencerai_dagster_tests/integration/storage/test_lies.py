"""Bytes that are not those which the server told of are never taken for the object."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.uploads import MULTIPART_THRESHOLD_BYTES
from influencerai_dagster_tests.testing.lying_s3 import Lie, changed, half, lying
from influencerai_dagster_tests.testing.servers import S3Server

KEY = "images/acme/job/output.png"
BYTES = b"pixels" * 1000

Reading = Callable[[ObjectStore, StoredFile, Path], object]


def get_listed(store: ObjectStore, stored: StoredFile, _: Path) -> object:
    (info,) = store.list(stored.object_key)
    return store.get(info)


READINGS: dict[str, Reading] = {
    "get": lambda store, stored, _: store.get(stored.object_key),
    "get listed": get_listed,
    "read": lambda store, stored, _: store.read(stored),
    "download": lambda store, stored, path: store.download(
        stored.object_key, path, expected=stored
    ),
    "download unknown": lambda store, stored, path: store.download(
        stored.object_key, path, expected=None
    ),
    "put the same again": lambda store, _, __: store.put_new(KEY, BYTES),
}


@pytest.fixture(params=[half, changed], ids=["cut", "changed"])
def liar(request: pytest.FixtureRequest, any_s3: S3Server) -> Iterator[ObjectStore]:
    lie: Lie = request.param
    with lying(any_s3, lie) as server:
        yield server.store()


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_an_answer_that_is_not_what_was_announced_is_passing(
    liar: ObjectStore, tmp_path: Path, reading: Reading
) -> None:
    stored = liar.put_new(KEY, BYTES)
    with pytest.raises(TransientError, match=f"'{KEY}'.*cut or changed on the way.*try again"):
        reading(liar, stored, tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_a_big_file_whose_etag_is_no_md5_is_checked_by_its_manifest(
    liar: ObjectStore, tmp_path: Path
) -> None:
    path = tmp_path / "lora"
    path.write_bytes(b"x" * (MULTIPART_THRESHOLD_BYTES + 1))
    stored = liar.put_new(KEY, path)
    with pytest.raises(TransientError, match="cut or changed on the way"):
        liar.download(KEY, tmp_path / "back", expected=stored)


def test_an_object_that_really_is_another_is_not_asked_for_again(any_s3: S3Server) -> None:
    store = any_s3.store()
    stored = store.put_latest(KEY, BYTES)
    for other in (b"short", BYTES[:-1] + b"!"):
        store.put_latest(KEY, other)
        with pytest.raises(PermanentError, match=r"not what its manifest says.*restore"):
            store.read(stored)


def test_an_object_that_was_replaced_since_it_was_listed_is_asked_for_again(
    any_s3: S3Server,
) -> None:
    store = any_s3.store()
    store.put_latest(KEY, BYTES)
    (listed,) = store.list(KEY)
    for other in (b"short", BYTES[:-1] + b"!"):
        store.put_latest(KEY, other)
        with pytest.raises(TransientError, match="replaced meanwhile"):
            store.get(listed)
