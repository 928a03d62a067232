"""Uploading a folder: in parallel, resumable, and only below the dataset's own prefix."""

import os
from pathlib import Path

import pytest

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.uploads import upload_folder
from influencerai_dagster_tests.testing.photos import KEY, UPLOADS, contents
from influencerai_dagster_tests.testing.servers import S3Server

FILES = {f"img{number}.jpg": f"photo {number}".encode() for number in range(8)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "photos"
    path.mkdir()
    for name, data in FILES.items():
        (path / name).write_bytes(data)
    return path


def send(store: ObjectStore, folder: Path, key: DatasetKey = KEY) -> dict[str, bool]:
    """Upload; return by file name whether it was sent."""
    reported: dict[str, bool] = {}
    sent = upload_folder(store, key, folder, lambda path, was: reported.update({path.name: was}))
    assert sent == sum(reported.values())
    return reported


def test_every_file_is_uploaded_as_it_is(object_store: ObjectStore, folder: Path) -> None:
    (folder / "deeper").mkdir()
    (folder / "deeper" / "not-this.jpg").write_bytes(b"x")
    assert send(object_store, folder) == dict.fromkeys(sorted(FILES), True)
    assert contents(object_store) == {UPLOADS + name: data for name, data in FILES.items()}


def test_a_second_upload_sends_only_what_is_new_or_changed(
    object_store: ObjectStore, folder: Path
) -> None:
    send(object_store, folder)
    (folder / "img3.jpg").write_bytes(b"retouched")
    (folder / "img9.jpg").write_bytes(b"new")
    reported = send(object_store, folder)
    assert {name for name, was_sent in reported.items() if was_sent} == {"img3.jpg", "img9.jpg"}
    assert object_store.get(f"{UPLOADS}img3.jpg") == b"retouched"


def test_an_interrupted_upload_goes_on_where_it_stopped(s3_server: S3Server, folder: Path) -> None:
    store = s3_server.store()

    class Failing(ObjectStore):
        def put_latest(self, key: str, data: bytes) -> StoredFile:
            if key.endswith(("img4.jpg", "img5.jpg")):
                raise TransientError("S3 did not answer")
            return super().put_latest(key, data)

    with pytest.raises(TransientError, match="did not answer"):
        send(Failing(store.client, store.bucket, max_workers=2), folder)
    there = set(contents(store))
    assert {f"{UPLOADS}img{number}.jpg" for number in range(4)} <= there
    reported = send(store, folder)
    assert {UPLOADS + name for name, was_sent in reported.items() if not was_sent} == there
    assert contents(store) == {UPLOADS + name: data for name, data in FILES.items()}


def test_a_file_with_a_hostile_name_stops_the_upload_before_it_begins(
    object_store: ObjectStore, folder: Path
) -> None:
    hostile = ["a\nb.jpg", "a\\b.jpg", "n" * 240, "a\u202egnp.exe"]
    for name in hostile:
        (folder / name).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"x")
    with pytest.raises(PermanentError) as caught:
        send(object_store, folder)
    assert f"{len(hostile) + 1} files of" in str(caught.value)
    for name in hostile:
        assert repr(name[:80]) in str(caught.value)
    assert contents(object_store) == {}


def test_hidden_files_of_a_file_manager_stay_at_home(
    object_store: ObjectStore, folder: Path
) -> None:
    (folder / ".DS_Store").write_bytes(b"x")
    send(object_store, folder)
    assert all(".DS_Store" not in key for key in contents(object_store))


def test_a_folder_that_is_missing_empty_or_a_file_is_a_clear_error(
    object_store: ObjectStore, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for name, problem in (
        ("missing", "is not a folder"),
        ("file", "is not a folder"),
        ("empty", "has no files"),
    ):
        with pytest.raises(PermanentError, match=problem):
            send(object_store, tmp_path / name)


def test_one_tenants_upload_leaves_anothers_as_it_is(
    object_store: ObjectStore, folder: Path
) -> None:
    send(object_store, folder, DatasetKey("other", "bella"))
    before = contents(object_store, "datasets/other/")
    (folder / "img0.jpg").write_bytes(b"another")
    send(object_store, folder)
    assert contents(object_store, "datasets/other/") == before
