"""Uploads become a dataset; what cannot be used is rejected by name and stays where it is."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.dataset_rules import DatasetRules, RejectReason
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.datasets import get_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError, TransientError
from influencerai_dagster.storage.contents import ObjectSummary
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.dataset_images import read_image
from influencerai_dagster.training.datasets import (
    MAX_RIGHTS_SIZE_BYTES,
    MAX_SIDECAR_SIZE_BYTES,
    build_dataset,
    scan_dataset,
)
from influencerai_dagster_tests.testing.lying_s3 import lying
from influencerai_dagster_tests.testing.photos import (
    KEY,
    RIGHTS,
    RULES,
    UPLOADS,
    contents,
    nearly,
    photo,
    put,
    text_bomb_png,
    upload,
    zip_bomb_png,
)
from influencerai_dagster_tests.testing.servers import S3Server

NO_IMAGE = b"this is a text file, whatever its name says"


def scan(store: ObjectStore, rules: DatasetRules = RULES) -> DatasetManifest:
    return scan_dataset(store, KEY, rules, lambda _done, _total: None)


def reasons(manifest: DatasetManifest) -> dict[str, RejectReason]:
    return {item.file_name: item.reason for item in manifest.rejected}


@pytest.mark.parametrize("cut", ["a.jpg", "a.txt", "rights.json"])
def test_an_upload_that_arrives_cut_short_is_neither_rejected_nor_believed(
    s3_server: S3Server, cut: str
) -> None:
    store = s3_server.store()
    upload(store, a_jpg=photo(1), a_txt=b"a woman", rights_json=RIGHTS)

    def lie(key: str, data: bytes) -> bytes:
        return data[: len(data) // 2] if key.endswith(cut) else data

    with lying(s3_server, lie) as liar:
        behind = liar.store(store.bucket)
        with pytest.raises(TransientError, match=f"{cut}.*cut or changed on the way"):
            scan(behind)
        image = scan(store).images[0]
        if cut == "a.jpg":
            with pytest.raises(TransientError, match="cut or changed on the way"):
                read_image(behind, image)


def test_accepted_images_are_listed_by_name_with_what_was_measured(
    object_store: ObjectStore,
) -> None:
    upload(object_store, b_png=photo(2, "PNG"), a_jpg=photo(1), c_webp=photo(3, "WEBP"))
    manifest = scan(object_store)
    assert [image.file_name for image in manifest.images] == ["a.jpg", "b.png", "c.webp"]
    assert [image.format for image in manifest.images] == ["JPEG", "PNG", "WEBP"]
    first = manifest.images[0]
    assert first.object_key == f"{UPLOADS}a.jpg"
    assert first.sha256 == sha256_hex(photo(1))
    assert (first.size_bytes, first.width_px, first.height_px) == (len(photo(1)), 160, 128)
    assert manifest.rejected == ()


HOSTILE_FILES: dict[str, tuple[Callable[[], bytes], RejectReason]] = {
    "zip bomb": (zip_bomb_png, RejectReason.TOO_MANY_PIXELS),
    "truncated jpeg": (lambda: photo(1)[: len(photo(1)) // 2], RejectReason.UNREADABLE),
    "truncated png": (lambda: photo(1, "PNG")[:-40], RejectReason.UNREADABLE),
    "text named png": (lambda: NO_IMAGE, RejectReason.NOT_AN_IMAGE),
    "empty file": (lambda: b"", RejectReason.NOT_AN_IMAGE),
    "signature only": (lambda: b"\x89PNG\r\n\x1a\n", RejectReason.UNREADABLE),
    "too small": (lambda: photo(4, "PNG", (64, 63)), RejectReason.TOO_SMALL),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_a_named_reject_and_the_others_go_on(
    object_store: ObjectStore, name: str
) -> None:
    make, reason = HOSTILE_FILES[name]
    upload(object_store, good_jpg=photo(1), bad_png=make())
    before = contents(object_store)
    manifest = scan(object_store)
    assert reasons(manifest) == {"bad.png": reason}
    assert manifest.rejected[0].detail
    assert [image.file_name for image in manifest.images] == ["good.jpg"]
    assert contents(object_store) == before, "a scan writes nothing and loses nothing"


def test_an_image_whose_text_inflates_to_a_bomb_is_taken_without_the_text(
    object_store: ObjectStore,
) -> None:
    upload(object_store, bomb_png=text_bomb_png())
    assert [image.file_name for image in scan(object_store).images] == ["bomb.png"]


def test_an_upload_that_is_too_large_is_rejected_without_being_read(s3_server: S3Server) -> None:
    store = s3_server.store()
    put(store, "big.jpg", photo(1))
    reads = CountingStore(store)
    manifest = scan(reads, DatasetRules(max_upload_size_bytes=len(photo(1)) - 1, min_side_px=64))
    assert reasons(manifest) == {"big.jpg": RejectReason.TOO_LARGE}
    assert "MAX_UPLOAD_SIZE" in manifest.rejected[0].detail
    assert reads.keys == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a\\..\\b.png", id="backslash"),
        pytest.param(".hidden.png", id="hidden"),
        pytest.param("deeper/a.png", id="folder"),
        pytest.param("a\u202egnp.exe", id="right-to-left override"),
        pytest.param("n" * 240 + ".png", id="244 characters"),
    ],
)
def test_a_hostile_file_name_is_a_named_reject_on_a_real_server(
    s3_server: S3Server, name: str
) -> None:
    store = s3_server.store()
    folder = s3_server.root_dir / store.bucket / UPLOADS  # as someone who owns the disk
    (folder / name).parent.mkdir(parents=True)
    (folder / "good.jpg").write_bytes(photo(1))
    (folder / name).write_bytes(photo(2, "PNG"))
    before = contents(store, "datasets/")
    manifest = scan(store)
    assert set(reasons(manifest).values()) == {RejectReason.NAME_NOT_ALLOWED}
    assert [image.file_name for image in manifest.images] == ["good.jpg"]
    assert contents(store, "datasets/") == before


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../x.png", id="parent folder"),
        pytest.param("../../other/bella/images/a.png", id="other tenant"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("a\0.png", id="nul"),
        pytest.param("a\n.png", id="newline"),
        pytest.param("n" * 300 + ".png", id="300 characters"),
    ],
)
def test_a_key_that_only_other_servers_hold_is_a_named_reject(
    s3_server: S3Server, name: str
) -> None:
    store = CountingStore(s3_server.store(), extra=[UPLOADS + name])
    upload(store, good_jpg=photo(1))
    manifest = scan(store)
    assert reasons(manifest) == {name: RejectReason.NAME_NOT_ALLOWED}
    assert store.keys == [f"{UPLOADS}good.jpg"], "nothing else may be read"


def test_an_empty_dataset_is_a_clear_error(object_store: ObjectStore) -> None:
    with pytest.raises(PermanentError, match="dataset demo/bella is empty") as caught:
        scan(object_store)
    assert UPLOADS in str(caught.value)


def test_a_dataset_of_rejects_only_has_no_images_but_all_reasons(object_store: ObjectStore) -> None:
    upload(object_store, a_png=NO_IMAGE, b_png=NO_IMAGE, a_txt=b"bella, smiling")
    manifest = scan(object_store)
    assert manifest.images == ()
    assert reasons(manifest) == {
        "a.png": RejectReason.NOT_AN_IMAGE,
        "b.png": RejectReason.NOT_AN_IMAGE,
        "a.txt": RejectReason.CAPTION_NOT_USED,
    }


def test_exact_and_near_duplicates_are_rejected_in_favour_of_the_first_name(
    object_store: ObjectStore,
) -> None:
    upload(object_store, b_jpg=photo(1), a_jpg=photo(1), c_jpg=nearly(1), d_jpg=photo(2))
    manifest = scan(object_store)
    assert [image.file_name for image in manifest.images] == ["a.jpg", "d.jpg"]
    assert reasons(manifest) == {
        "b.jpg": RejectReason.EXACT_DUPLICATE,
        "c.jpg": RejectReason.NEAR_DUPLICATE,
    }
    assert {item.detail for item in manifest.rejected} == {
        "the same bytes as a.jpg",
        "looks like a.jpg",
    }


def test_images_beyond_the_limit_are_rejected_in_order_of_name(object_store: ObjectStore) -> None:
    upload(object_store, **{f"img{seed}_jpg": photo(seed) for seed in range(5)})
    manifest = scan(object_store, DatasetRules(min_side_px=64, max_images=3))
    assert [image.file_name for image in manifest.images] == ["img0.jpg", "img1.jpg", "img2.jpg"]
    assert reasons(manifest) == {
        "img3.jpg": RejectReason.TOO_MANY_IMAGES,
        "img4.jpg": RejectReason.TOO_MANY_IMAGES,
    }


def test_of_5001_images_the_last_is_rejected_and_a_few_are_in_memory_at_once(
    s3_server: S3Server,
) -> None:
    store = LiveBytesStore(s3_server.client(), "not-asked", max_workers=2)
    manifest = scan(store, DatasetRules())
    assert len(manifest.rejected) == 5001
    beyond = [
        item.file_name for item in manifest.rejected if item.reason is RejectReason.TOO_MANY_IMAGES
    ]
    assert beyond == ["img5000.jpg"]
    assert LiveBytes.most <= 2 * 2 + 2


@pytest.mark.parametrize("sidecar", ["a.txt", "photo.txt", "a.b.txt"])
def test_a_sidecar_belongs_to_the_image_of_the_same_stem(
    object_store: ObjectStore, sidecar: str
) -> None:
    names = {"a.txt": "a.jpg", "photo.txt": "photo", "a.b.txt": "a.b.jpg"}
    put(object_store, names[sidecar], photo(1))
    put(object_store, sidecar, b"bella, smiling")
    put(object_store, ".txt", b"of nobody")
    (image,) = scan(object_store).images
    assert image.file_name == names[sidecar]
    assert image.caption_object_key == UPLOADS + sidecar
    assert image.caption_sha256 == sha256_hex(b"bella, smiling")


def test_every_text_of_a_real_folder_is_used_or_named(object_store: ObjectStore) -> None:
    pairs = {
        "img001.JPG": "img001.txt",
        "img002.jpg": "img002.TXT",
        "img003.jpg": "img003.jpg.txt",
        "img004.jpg": "img004.caption",
        "IMG_005.JPG": "img_005.txt",
        "photo.final.v2.jpg": "photo.final.v2.txt",
        "img 007 (1)+a#b%20&é'.jpg": "img 007 (1)+a#b%20&é'.txt",
    }
    for seed, (image, caption) in enumerate(pairs.items()):
        put(object_store, image, photo(seed))
        put(object_store, caption, f"caption of {image}".encode())
    put(object_store, "selfie😀.jpg", photo(99))
    for name in ("captions.txt", "metadata.jsonl", "README.txt", "Thumbs.db", "desktop.ini"):
        put(object_store, name, b"notes of the photographer")
    put(object_store, "Rights.json", RIGHTS)
    manifest = scan(object_store)
    assert {image.file_name: image.caption_object_key for image in manifest.images} == {
        **{image: UPLOADS + caption for image, caption in pairs.items()},
        "selfie😀.jpg": None,
    }
    assert reasons(manifest) == {
        "captions.txt": RejectReason.CAPTION_UNPAIRED,
        "metadata.jsonl": RejectReason.CAPTION_UNPAIRED,
        "README.txt": RejectReason.NOT_AN_IMAGE,
        "Thumbs.db": RejectReason.NOT_AN_IMAGE,
        "desktop.ini": RejectReason.NOT_AN_IMAGE,
    }
    assert manifest.rights is not None


def test_a_caption_file_of_a_mac_is_of_the_same_name_in_another_composition(
    s3_server: S3Server,
) -> None:
    store = ListedStore(s3_server.store(), {UPLOADS + "cafe\u0301.txt": UPLOADS + "other.txt"})
    put(store, "caf\u00e9.jpg", photo(1))
    put(store, "other.txt", b"bella, at home")
    (image,) = scan(store).images
    assert image.caption_object_key == UPLOADS + "cafe\u0301.txt"


def test_an_image_without_a_sidecar_has_no_caption(object_store: ObjectStore) -> None:
    upload(object_store, photo=photo(1))
    put(object_store, ".txt", b"of nobody")
    (image,) = scan(object_store).images
    assert (image.caption_object_key, image.caption_sha256) == (None, None)


def test_a_sidecar_as_large_as_a_book_is_refused(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"a" * (MAX_SIDECAR_SIZE_BYTES + 1))
    with pytest.raises(PermanentError, match=r"a\.txt has 65537 bytes"):
        scan(object_store)


def test_the_version_is_the_same_after_a_second_scan(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), b_jpg=photo(2), a_txt=b"bella", rights_json=RIGHTS)
    assert scan(object_store) == scan(object_store)


@pytest.mark.parametrize("change", ["caption", "image", "rights", "new image", "new reject"])
def test_the_version_changes_with_any_upload(object_store: ObjectStore, change: str) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"bella", rights_json=RIGHTS)
    before = scan(object_store).version
    match change:
        case "caption":
            upload(object_store, a_txt=b"bella, smiling")
        case "image":
            upload(object_store, a_jpg=photo(2))
        case "rights":
            upload(object_store, rights_json=RIGHTS.replace(b"CC0-1.0", b"MIT"))
        case "new image":
            upload(object_store, b_jpg=photo(3))
        case _:
            upload(object_store, b_jpg=NO_IMAGE)
    assert scan(object_store).version != before


def test_rights_are_read_from_rights_json(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), rights_json=RIGHTS)
    manifest = scan(object_store)
    assert manifest.rights is not None
    assert manifest.rights.subject == "synthetic"
    assert manifest.rejected == ()


def test_without_rights_json_no_rights_are_claimed(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1))
    manifest = scan(object_store)
    assert manifest.rights is None
    assert manifest.rejected == ()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        pytest.param(b"not JSON", "JSON", id="no json"),
        pytest.param(b'{"subject": "caf\xe9"}', "JSON", id="latin-1"),
        pytest.param(RIGHTS.replace(b"synthetic", b"found online"), "subject", id="subject"),
        pytest.param(RIGHTS.replace(b"CC0-1.0", b""), "licence", id="no licence"),
        pytest.param(RIGHTS.replace(b"{", b'{"extra": 1, ', 1), "extra", id="unknown field"),
        pytest.param(b" " * (MAX_RIGHTS_SIZE_BYTES + 1), "65537 bytes", id="too large"),
    ],
)
def test_rights_that_are_not_understood_are_a_named_reject(
    object_store: ObjectStore, data: bytes, word: str
) -> None:
    upload(object_store, a_jpg=photo(1), rights_json=data)
    manifest = scan(object_store)
    assert manifest.rights is None
    assert reasons(manifest) == {"rights.json": RejectReason.RIGHTS_INVALID}
    assert word in manifest.rejected[0].detail


def test_progress_is_told_for_every_upload(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), b_jpg=NO_IMAGE, a_txt=b"bella")
    reported: list[tuple[int, int]] = []
    scan_dataset(object_store, KEY, RULES, lambda done, total: reported.append((done, total)))
    assert reported == [(1, 2), (2, 2)]


def test_two_tenants_with_a_dataset_of_one_name_see_only_their_own(
    object_store: ObjectStore,
) -> None:
    upload(object_store, a_jpg=photo(1))
    object_store.put_latest("datasets/other/bella/images/b.jpg", photo(2))
    object_store.put_latest("datasets/demo/bella2/images/c.jpg", photo(3))
    assert [image.file_name for image in scan(object_store).images] == ["a.jpg"]
    other = scan_dataset(object_store, DatasetKey("other", "bella"), RULES, lambda *_: None)
    assert [image.object_key for image in other.images] == ["datasets/other/bella/images/b.jpg"]


def build(engine: Engine, store: ObjectStore) -> DatasetManifest:
    return build_dataset(engine, store, KEY, RULES, lambda _done, _total: None).manifest


def recorded_version(engine: Engine) -> str | None:
    with transaction(engine) as session:
        found = get_dataset(session, KEY.tenant, KEY.dataset)
    return found.version if found else None


def test_a_dataset_is_published_under_its_version_and_as_the_newest(
    engine: Engine, object_store: ObjectStore
) -> None:
    upload(object_store, a_jpg=photo(1))
    uploads = contents(object_store)
    manifest = build(engine, object_store)
    assert build(engine, object_store) == manifest
    upload(object_store, b_jpg=photo(2))
    newer = build(engine, object_store)
    newest = object_store.get("datasets/demo/bella/manifest.json")
    assert DatasetManifest.model_validate_json(newest) == newer
    assert recorded_version(engine) == newer.version
    older = object_store.get(f"datasets/demo/bella/manifests/{manifest.version}.json")
    assert DatasetManifest.model_validate_json(older) == manifest
    written = contents(object_store)
    assert uploads.items() <= written.items()
    assert {key for key in written if not key.startswith("datasets/demo/bella/")} == set()


class Killed(ObjectStore):
    """A real store whose process is killed before or after it wrote one key."""

    def __init__(self, store: ObjectStore, key_end: str, *, is_written: bool) -> None:
        super().__init__(store.client, store.bucket)
        self._key_end = key_end
        self._is_written = is_written

    def put_new(self, key: str, data: bytes | Path, **options: Any) -> StoredFile:
        return self._killed(key, lambda: ObjectStore.put_new(self, key, data, **options))

    def put_latest(self, key: str, data: bytes) -> StoredFile:
        return self._killed(key, lambda: ObjectStore.put_latest(self, key, data))

    def _killed(self, key: str, write: Callable[[], StoredFile]) -> StoredFile:
        if not key.endswith(self._key_end):
            return write()
        if self._is_written:
            write()
        raise KeyboardInterrupt


@pytest.mark.parametrize("is_written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", ["version", "pointer"])
def test_a_dataset_whose_run_was_killed_at_any_step_is_the_same_after_the_next_run(
    engine: Engine, object_store: ObjectStore, step: str, *, is_written: bool
) -> None:
    upload(object_store, a_jpg=photo(1))
    version = scan(object_store).version
    key_end = "/bella/manifest.json" if step == "pointer" else f"{version}.json"
    killed = Killed(object_store, key_end, is_written=is_written)
    with pytest.raises(KeyboardInterrupt):
        build(engine, killed)
    assert recorded_version(engine) is None, "the row comes last"
    is_pointer_there = object_store.head("datasets/demo/bella/manifest.json") is not None
    assert is_pointer_there == (step == "pointer" and is_written)

    manifest = build(engine, object_store)

    after = contents(object_store)
    assert manifest.version == recorded_version(engine) == version
    assert build(engine, object_store) == manifest
    assert contents(object_store) == after
    assert after["datasets/demo/bella/manifest.json"] == after[manifest.object_key()]


def test_no_manifest_is_read_back_by_the_process_that_wrote_it(
    engine: Engine, object_store: ObjectStore
) -> None:
    upload(object_store, a_jpg=photo(1))
    requests: list[str] = []

    def note(params: dict[str, Any], **_: object) -> None:
        requests.append(params["Key"])

    object_store.client.meta.events.register("provide-client-params.s3.GetObject", note)
    manifest = build(engine, object_store)
    assert manifest.images[0].object_key in requests
    assert not [key for key in requests if key.endswith(".json")]


def test_an_upload_that_was_replaced_after_the_scan_is_not_taken_for_the_old_one(
    object_store: ObjectStore,
) -> None:
    upload(object_store, a_jpg=photo(1))
    (image,) = scan(object_store).images
    assert read_image(object_store, image) == photo(1)
    upload(object_store, a_jpg=photo(2))
    with pytest.raises(PermanentError, match=r"a\.jpg was replaced after its dataset was scanned"):
        read_image(object_store, image)
    object_store.delete(image.object_key)
    with pytest.raises(ObjectNotFoundError, match=r"a\.jpg"):
        read_image(object_store, image)


def info(key: str, etag: str = "e", size_bytes: int = 1) -> ObjectSummary:
    return ObjectSummary(key, size_bytes, etag, datetime(2026, 11, 23, tzinfo=UTC))


class CountingStore(ObjectStore):
    """A real store that remembers what was read, and lists keys that rclone cannot hold."""

    def __init__(self, store: ObjectStore, extra: list[str] | None = None) -> None:
        super().__init__(store.client, store.bucket)
        self.keys: list[str] = []
        self._extra = extra or []

    def get(self, wanted: str | ObjectSummary) -> bytes:
        self.keys.append(wanted if isinstance(wanted, str) else wanted.key)
        return super().get(wanted)

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        yield from super().list(prefix)
        yield from (info(key) for key in self._extra)


class ListedStore(ObjectStore):
    """A real store that shows objects under other keys, which its server would not tell apart."""

    def __init__(self, store: ObjectStore, shown: dict[str, str]) -> None:
        super().__init__(store.client, store.bucket)
        self._shown = shown

    def get(self, wanted: str | ObjectSummary) -> bytes:
        key = wanted.key if isinstance(wanted, ObjectSummary) else wanted
        return super().get(self._shown.get(key, key))

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        names = {key: shown for shown, key in self._shown.items()}
        for found in super().list(prefix):
            yield replace(found, key=names.get(found.key, found.key))


class LiveBytes(bytes):
    """The bytes of one upload, which count how many of them are in memory."""

    live = 0
    most = 0

    def __init__(self, _: bytes) -> None:
        LiveBytes.live += 1
        LiveBytes.most = max(LiveBytes.most, LiveBytes.live)

    def __del__(self) -> None:
        LiveBytes.live -= 1


class LiveBytesStore(ObjectStore):
    """5,001 uploads without a server: as many requests would take a minute."""

    def list(self, prefix: str) -> Iterator[ObjectSummary]:
        return (info(f"{prefix}img{number:04d}.jpg") for number in range(5001))

    def get(self, wanted: str | ObjectSummary) -> bytes:
        assert isinstance(wanted, ObjectSummary)
        return LiveBytes(NO_IMAGE)
