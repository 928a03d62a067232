"""What the object store promises, on real servers."""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from botocore.exceptions import ClientError

from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import ObjectExistsError, ObjectNotFoundError, PermanentError
from influencerai_dagster.storage.access import access_problems
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.storage.uploads import MULTIPART_THRESHOLD_BYTES, upload
from influencerai_dagster_tests.testing.servers import S3Server

KEY = "images/acme/job/output.png"
IGNORE_IF_NONE_MATCH = {"rclone"}


def as_bytes(data: bytes, folder: Path) -> bytes | Path:  # noqa: ARG001 - one shape with as_file
    return data


def as_file(data: bytes, folder: Path) -> bytes | Path:
    path = folder / "upload.bin"
    path.write_bytes(data)
    return path


each_kind_of_data = pytest.mark.parametrize("given", [as_bytes, as_file], ids=["bytes", "file"])
Given = Callable[[bytes, Path], bytes | Path]


@each_kind_of_data
@pytest.mark.parametrize("data", [b"", b"pixels" * 1000], ids=["empty", "some"])
def test_what_was_put_is_read_back_as_recorded(
    store: ObjectStore, tmp_path: Path, given: Given, data: bytes
) -> None:
    stored = store.put_new(KEY, given(data, tmp_path))
    assert stored == StoredFile(
        object_key=KEY, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data)
    )
    assert store.read(stored) == data == store.get(KEY)


@each_kind_of_data
def test_the_same_content_can_be_put_again(
    store: ObjectStore, tmp_path: Path, given: Given
) -> None:
    first = store.put_new(KEY, b"pixels")
    assert store.put_new(KEY, given(b"pixels", tmp_path)) == first


@each_kind_of_data
@pytest.mark.parametrize("other", [b"PIXELS", b"more pixels"], ids=["same size", "other size"])
def test_other_content_never_replaces_an_object(
    store: ObjectStore, tmp_path: Path, given: Given, other: bytes
) -> None:
    store.put_new(KEY, b"pixels")
    with pytest.raises(PermanentError, match=f"{KEY}.*written once.*other content.*6 bytes"):
        store.put_new(KEY, given(other, tmp_path))
    assert store.get(KEY) == b"pixels"


@pytest.mark.parametrize("checksum_mode", ["when_required", "when_supported"])
def test_a_big_file_goes_up_in_parts_and_comes_back_whole(
    make_store: Callable[..., ObjectStore], tmp_path: Path, checksum_mode: str
) -> None:
    store = make_store(f"big-{checksum_mode.replace('_', '-')}", checksum_mode=checksum_mode)
    store.client.create_bucket(Bucket=store.bucket)
    path = tmp_path / "lora.safetensors"
    path.write_bytes(os.urandom(1024) * (MULTIPART_THRESHOLD_BYTES // 1024 + 5))
    stored = store.put_new("loras/acme/l1.safetensors", path)
    info = store.head(stored.object_key)
    assert info is not None
    assert info.size_bytes == stored.size_bytes == path.stat().st_size
    store.download(stored.object_key, tmp_path / "back.safetensors", expected=stored)
    assert (tmp_path / "back.safetensors").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("checksum_mode", ["when_required", "when_supported"])
def test_each_checksum_mode_stores_and_reads(
    make_store: Callable[..., ObjectStore], checksum_mode: str
) -> None:
    store = make_store(f"small-{checksum_mode.replace('_', '-')}", checksum_mode=checksum_mode)
    store.client.create_bucket(Bucket=store.bucket)
    assert store.read(store.put_new(KEY, b"pixels")) == b"pixels"


@pytest.mark.parametrize("size_bytes", [10, MULTIPART_THRESHOLD_BYTES + 1], ids=["put", "parts"])
def test_where_the_server_can_it_refuses_the_second_of_two_racing_writers(
    store: ObjectStore, any_s3: S3Server, tmp_path: Path, size_bytes: int
) -> None:
    if any_s3.name in IGNORE_IF_NONE_MATCH:
        pytest.skip(f"{any_s3.name} ignores If-None-Match")
    path = tmp_path / "late"
    path.write_bytes(b"x" * size_bytes)
    store.put_new(KEY, b"first")
    with pytest.raises(ObjectExistsError):
        upload(store.client, store.bucket, KEY, path, "image/png")
    assert store.get(KEY) == b"first"


def test_a_pointer_is_overwritten(store: ObjectStore) -> None:
    store.put_latest("datasets/acme/bella/manifest.json", b"1")
    stored = store.put_latest("datasets/acme/bella/manifest.json", b"22")
    assert store.read(stored) == b"22"


def test_reading_what_is_not_there_names_the_key(store: ObjectStore, tmp_path: Path) -> None:
    absent = StoredFile(object_key="images/none.png", sha256="0" * 64, size_bytes=1)
    with pytest.raises(ObjectNotFoundError, match=r"images/none\.png"):
        store.read(absent)
    with pytest.raises(ObjectNotFoundError, match=r"images/none\.png"):
        store.get("images/none.png")
    with pytest.raises(ObjectNotFoundError, match=r"images/none\.png"):
        store.download("images/none.png", tmp_path / "none.png", expected=None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damaged", "found"),
    [
        (b"pix", "found 3 bytes, expected 6 bytes"),
        (b"pixelX", "found SHA-256 .* expected [0-9a-f]{64}"),
    ],
    ids=["truncated", "changed"],
)
def test_a_damaged_object_is_refused_with_what_was_found_and_expected(
    store: ObjectStore, tmp_path: Path, damaged: bytes, found: str
) -> None:
    stored = store.put_new(KEY, b"pixels")
    store.put_latest(KEY, damaged)
    with pytest.raises(PermanentError, match=f"{KEY}.*{found}"):
        store.read(stored)
    with pytest.raises(PermanentError, match=f"{KEY}.*{found}"):
        store.download(KEY, tmp_path / "file", expected=stored)
    assert list(tmp_path.iterdir()) == []


def test_a_download_replaces_the_file_that_is_there(store: ObjectStore, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old and longer")
    store.put_new(KEY, b"new")
    store.download(KEY, path, expected=None)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_head_tells_what_is_there(store: ObjectStore) -> None:
    assert store.head(KEY) is None
    store.put_new(KEY, b"pixels")
    info = store.head(KEY)
    assert info is not None
    assert (info.key, info.size_bytes) == (KEY, 6)
    assert info.last_modified.utcoffset() is not None
    assert info in list(store.list("images/"))


def test_a_listing_takes_every_page(store: ObjectStore) -> None:
    keys = sorted(f"datasets/acme/bella/images/{number:02}/x.txt" for number in range(11))
    assert len(list(store.map(lambda key: store.put_latest(key, b"x"), keys))) == 11

    def ask_for_small_pages(params: dict[str, object], **_: object) -> None:
        params["MaxKeys"] = 3

    event = "provide-client-params.s3.ListObjectsV2"
    store.client.meta.events.register(event, ask_for_small_pages)
    try:
        assert [info.key for info in store.list("datasets/acme/")] == keys
        assert len(store.list_folders("datasets/acme/bella/images/")) == 11
    finally:
        store.client.meta.events.unregister(event, ask_for_small_pages)


def test_a_listing_keeps_to_its_prefix_and_reads_every_name(store: ObjectStore) -> None:
    names = ["a/é ü.jpg", "a/%2F+& x.jpg", "a/日本.jpg", "a/sub/x.jpg"]
    for name in [*names, "ab/other.jpg", "b/other.jpg"]:
        store.put_new(name, b"x")
    assert {info.key for info in store.list("a/")} == set(names)


def test_keys_that_differ_only_in_unicode_composition_are_two_objects(store: ObjectStore) -> None:
    composed, decomposed = "a/\u00e9.jpg", "a/e\u0301.jpg"
    store.put_new(composed, b"composed")
    assert store.head(decomposed) is None
    store.put_new(decomposed, b"decomposed")
    assert store.get(composed) == b"composed"
    assert store.get(decomposed) == b"decomposed"
    assert {info.key for info in store.list("a/")} == {composed, decomposed}
    store.delete(decomposed)
    assert [info.key for info in store.list("a/")] == [composed]


def test_folders_are_one_level_deep_and_sorted(store: ObjectStore) -> None:
    for key in ["t/b/1", "t/a/1", "t/a/2/3", "t/file", "tt/c/1"]:
        store.put_new(key, b"x")
    assert list(store.list_folders("t/")) == ["t/a/", "t/b/"]
    assert list(store.list_folders("nothing/")) == []


def test_a_deleted_object_is_gone_and_deleting_it_again_is_fine(store: ObjectStore) -> None:
    store.put_new(KEY, b"x")
    store.delete(KEY)
    assert store.head(KEY) is None
    store.delete(KEY)


def test_a_presigned_link_reads_the_object_until_its_signature_is_changed(
    store: ObjectStore,
) -> None:
    store.put_new(KEY, b"pixels", content_type="image/png")
    url = store.presign_get(KEY, expires_seconds=60)
    response = httpx.get(url)
    assert (response.content, response.headers["content-type"]) == (b"pixels", "image/png")
    forged = url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")
    assert httpx.get(forged).status_code == 403


def test_a_content_type_follows_the_name(store: ObjectStore) -> None:
    store.put_new("a/x.webp", b"x")
    head = store.client.head_object(Bucket=store.bucket, Key="a/x.webp")
    assert head["ContentType"] == "image/webp"


def test_a_missing_bucket_is_never_taken_for_a_missing_object(
    make_store: Callable[[str], ObjectStore],
) -> None:
    store = make_store("not-there")
    actions: list[Callable[[], object]] = [
        lambda: store.head(KEY),
        lambda: store.get(KEY),
        lambda: store.put_new(KEY, b"x"),
        lambda: store.put_latest(KEY, b"x"),
        lambda: list(store.list("")),
        lambda: store.list_folders(""),
    ]
    for action in actions:
        with pytest.raises(PermanentError, match=r"'not-there'.*NoSuchBucket.*S3_BUCKET"):
            action()


@pytest.mark.parametrize(
    "wrong", [{"secret_key": "wrong-secret"}, {"access_key": "wrong-key"}], ids=["secret", "key"]
)
def test_wrong_keys_name_the_settings(
    make_store: Callable[..., ObjectStore], wrong: dict[str, str]
) -> None:
    store = make_store("any-bucket", **wrong)
    for action in (lambda: store.head(KEY), lambda: store.get(KEY)):
        with pytest.raises(PermanentError, match=r"HTTP 40[34].*S3_KEY and S3_SECRET"):
            action()


def test_access_to_a_good_bucket_has_no_problems_and_leaves_nothing(store: ObjectStore) -> None:
    assert list(access_problems(store)) == []
    assert list(store.list("")) == []


def test_access_problems_say_which_step_failed(make_store: Callable[..., ObjectStore]) -> None:
    (problem,) = access_problems(make_store("never-made"))
    assert problem.startswith("write: ")
    assert "S3_BUCKET" in problem


def test_only_one_of_many_writers_of_different_content_can_believe_to_be_stored(
    store: ObjectStore, any_s3: S3Server
) -> None:
    if any_s3.name in IGNORE_IF_NONE_MATCH:
        pytest.skip(f"{any_s3.name} ignores If-None-Match")
    barrier = threading.Barrier(8)

    def write(number: int) -> StoredFile | None:
        barrier.wait(timeout=10)
        try:
            return store.put_new(KEY, f"content {number}".encode())
        except PermanentError:
            return None

    (winner,) = [stored for stored in store.map(write, range(8)) if stored is not None]
    assert store.read(winner)


def test_the_clients_own_errors_do_not_leak(store: ObjectStore) -> None:
    with pytest.raises(PermanentError) as caught:
        store.get("../outside")
    assert isinstance(caught.value.__cause__, ClientError)
