"""Every image gets one caption: the uploader's own, else a captioner's, else the class caption."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.manifests.captions import (
    MAX_CAPTION_LENGTH,
    Caption,
    CaptionsManifest,
    CaptionSource,
)
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.plain_text import text_problem
from influencerai_dagster.core.refused_images import RefusedImage
from influencerai_dagster.engines.kohya.captioners import BlipCaptioner
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.captions import (
    Captioner,
    CaptionSettings,
    parse_sidecar,
    trigger_first,
    write_captions,
)
from influencerai_dagster.training.datasets import scan_dataset
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.photos import KEY, RULES, contents, photo, put, upload

BY_HAND = CaptionSettings(trigger_phrase="bella woman", class_caption="woman")


@dataclass
class EchoCaptioner:
    """Tells each image's name, or what it was told to say."""

    says: str | None = None
    seen: dict[str, bytes] = field(default_factory=dict)

    def caption(self, image_dir: Path) -> dict[str, str]:
        self.seen = {path.name: path.read_bytes() for path in image_dir.iterdir()}
        return {name: f"photo {name}" if self.says is None else self.says for name in self.seen}


def with_captioner(captioner: Captioner) -> CaptionSettings:
    return CaptionSettings(
        trigger_phrase="bella woman",
        class_caption="woman",
        captioner=captioner,
        captioner_source=CaptionSource.BLIP,
    )


def scanned(store: ObjectStore) -> DatasetManifest:
    return scan_dataset(store, KEY, RULES, lambda _done, _total: None)


def texts(manifest: CaptionsManifest) -> dict[str, tuple[str, CaptionSource]]:
    return {item.file_name: (item.text, item.source) for item in manifest.captions}


def test_a_sidecar_wins_and_the_class_caption_fills_the_rest(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"smiling on a beach\n", b_jpg=photo(2))
    before = contents(object_store)
    dataset = scanned(object_store)
    manifest = write_captions(object_store, dataset, BY_HAND).manifest
    assert texts(manifest) == {
        "a.jpg": ("bella woman, smiling on a beach", CaptionSource.SIDECAR),
        "b.jpg": ("bella woman, woman", CaptionSource.CLASS),
    }
    assert manifest.dataset_version == dataset.version
    written = contents(object_store).keys() - before.keys()
    assert written == {manifest.object_key()}, "captions are never written beside the uploads"


def test_a_captioner_sees_only_images_without_a_sidecar(object_store: ObjectStore) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"by hand", b_png=photo(2, "PNG"))
    captioner = EchoCaptioner()
    manifest = write_captions(
        object_store, scanned(object_store), with_captioner(captioner)
    ).manifest
    assert list(captioner.seen) == ["img00001.png"]
    assert texts(manifest) == {
        "a.jpg": ("bella woman, by hand", CaptionSource.SIDECAR),
        "b.png": ("bella woman, photo img00001.png", CaptionSource.BLIP),
    }


def test_images_of_one_stem_and_without_an_ending_get_captions_of_their_own(
    object_store: ObjectStore,
) -> None:
    for name, seed in (("a.jpg", 1), ("a.png", 2), ("photo", 3), ("[x] *.JPE", 4)):
        put(object_store, name, photo(seed))
    captioner = EchoCaptioner()
    manifest = write_captions(
        object_store, scanned(object_store), with_captioner(captioner)
    ).manifest
    assert len(captioner.seen) == 4
    assert {path.rpartition(".")[2] for path in captioner.seen} == {"jpg"}
    assert len({item.text for item in manifest.captions}) == 4
    assert {item.source for item in manifest.captions} == {CaptionSource.BLIP}


def test_the_place_where_a_photo_was_taken_is_not_passed_on(object_store: ObjectStore) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    exif[0x010F] = "SECRET CAMERA"
    jpeg = photo(1)
    block = b"Exif\0\0" + exif.tobytes().removeprefix(b"Exif\0\0")
    tagged = jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]
    upload(object_store, a_jpg=tagged)
    captioner = EchoCaptioner()
    write_captions(object_store, scanned(object_store), with_captioner(captioner))
    (copy,) = captioner.seen.values()
    assert b"SECRET CAMERA" in tagged
    assert b"SECRET CAMERA" not in copy


@pytest.mark.parametrize(
    ("says", "text", "source"),
    [
        ("", "bella woman, woman", CaptionSource.CLASS),
        (" \n ", "bella woman, woman", CaptionSource.CLASS),
        ("two\n lines\t here", "bella woman, two lines here", CaptionSource.BLIP),
    ],
    ids=["nothing", "blanks", "lines"],
)
def test_what_a_captioner_says_becomes_one_line_or_the_class_caption(
    object_store: ObjectStore, says: str, text: str, source: CaptionSource
) -> None:
    upload(object_store, a_jpg=photo(1))
    settings = with_captioner(EchoCaptioner(says))
    manifest = write_captions(object_store, scanned(object_store), settings).manifest
    assert texts(manifest) == {"a.jpg": (text, source)}


def test_a_captioner_that_does_not_end_is_cut_to_the_longest_caption(
    object_store: ObjectStore,
) -> None:
    upload(object_store, a_jpg=photo(1))
    settings = with_captioner(EchoCaptioner("word " * 5000))
    (caption,) = write_captions(object_store, scanned(object_store), settings).manifest.captions
    assert len(caption.text) <= MAX_CAPTION_LENGTH + len("bella woman, ")


def test_kohyas_captioner_runs_as_a_program(object_store: ObjectStore, tmp_path: Path) -> None:
    upload(object_store, a_jpg=photo(1), b_jpg=photo(2))
    blip = BlipCaptioner(
        sd_scripts_dir=SIMULATED_KOHYA_DIR,
        python=Path(sys.executable),
        work_dir=tmp_path / "work",
    )
    manifest = write_captions(object_store, scanned(object_store), with_captioner(blip)).manifest
    assert {item.source for item in manifest.captions} == {CaptionSource.BLIP}
    assert all(item.text.startswith("bella woman, ") for item in manifest.captions)


def test_an_image_that_a_captioner_refuses_is_named_and_has_the_class_caption(
    object_store: ObjectStore,
) -> None:
    class Refuses:
        def caption(self, image_dir: Path) -> dict[str, str | RefusedImage]:
            first, *others = sorted(path.name for path in image_dir.iterdir())
            refused = RefusedImage(file_name=first, why="content_filter")
            return {first: refused} | dict.fromkeys(others, "smiling")

    upload(object_store, a_jpg=photo(1), b_png=photo(2, "PNG"))
    manifest = write_captions(
        object_store, scanned(object_store), with_captioner(Refuses())
    ).manifest
    assert texts(manifest) == {
        "a.jpg": ("bella woman, woman", CaptionSource.CLASS),
        "b.png": ("bella woman, smiling", CaptionSource.BLIP),
    }
    assert manifest.refused == (RefusedImage(file_name="a.jpg", why="content_filter"),)
    unrefused = CaptionsManifest.build(
        KEY,
        dataset_version=manifest.dataset_version,
        trigger_phrase=manifest.trigger_phrase,
        captions=manifest.captions,
    )
    assert unrefused.version != manifest.version


def test_the_version_of_a_manifest_without_refusals_is_that_of_before_there_were_any() -> None:
    manifest = CaptionsManifest.build(
        KEY,
        dataset_version="0" * 32,
        trigger_phrase="bella",
        captions=(Caption(file_name="a.jpg", text="bella", source=CaptionSource.CLASS),),
    )
    fields = manifest.model_dump(mode="json", exclude={"version", "refused"})
    assert manifest.version == fingerprint(fields)


def test_a_captioner_that_fails_fails_the_stage(object_store: ObjectStore) -> None:
    class Away(EchoCaptioner):
        def caption(self, image_dir: Path) -> dict[str, str]:
            raise TransientError(f"no model for {image_dir.name}")

    upload(object_store, a_jpg=photo(1))
    with pytest.raises(TransientError, match="no model"):
        write_captions(object_store, scanned(object_store), with_captioner(Away()))


BAD_SIDECARS = {
    "latin-1": ("Bella im Café".encode("latin-1"), "is not UTF-8 (byte 0xe9 at 12)"),
    "utf-16 without its mark": ("bella".encode("utf-16-le"), "it has a control character, U+0000"),
    "cut utf-16": ("bella".encode("utf-16")[:-1], "is not UTF-8"),
    "empty": (b"", "is empty"),
    "blank": (b" \n ", "is empty"),
    "two lines": (b"bella\nsmiling", "has more than one line"),
    "line separator": ("bella\u2028smiling".encode(), "has more than one line"),
    "too long": (b"a" * (MAX_CAPTION_LENGTH + 1), "has 1001 characters; at most 1000"),
    "nul": (b"bella\0woman", "it has a control character, U+0000, as its character 6"),
    "escape": (b"bella\x1b[31m", "it has a control character, U+001B"),
    "override": (
        "bella\u202enamow".encode(),
        "it has a control character of text direction, U+202E",
    ),
}


@pytest.mark.parametrize("name", BAD_SIDECARS)
def test_a_sidecar_that_cannot_be_used_is_named_with_its_problem(
    object_store: ObjectStore, name: str
) -> None:
    data, problem = BAD_SIDECARS[name]
    upload(object_store, a_jpg=photo(1), a_txt=data)
    before = contents(object_store)
    with pytest.raises(PermanentError) as caught:
        write_captions(object_store, scanned(object_store), BY_HAND)
    assert f"datasets/demo/bella/images/a.txt: {problem}" in str(caught.value)
    assert contents(object_store) == before


def test_the_problems_of_all_sidecars_are_told_at_once(object_store: ObjectStore) -> None:
    for number, (data, _) in enumerate(BAD_SIDECARS.values()):
        put(object_store, f"img{number}.jpg", photo(number))
        put(object_store, f"img{number}.txt", data)
    upload(object_store, good_jpg=photo(99), good_txt=b"fine")
    with pytest.raises(PermanentError) as caught:
        write_captions(object_store, scanned(object_store), BY_HAND)
    assert str(caught.value).startswith(f"{len(BAD_SIDECARS)} caption files of demo/bella")
    assert str(caught.value).count("/images/img") == len(BAD_SIDECARS)
    assert "good.txt" not in str(caught.value)


def test_a_sidecar_that_was_replaced_after_the_scan_is_not_mixed_in(
    object_store: ObjectStore,
) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"old")
    dataset = scanned(object_store)
    upload(object_store, a_txt=b"new")
    with pytest.raises(PermanentError, match=r"a\.txt was replaced after its dataset was scanned"):
        write_captions(object_store, dataset, BY_HAND)


def test_captions_have_a_new_version_after_a_caption_or_the_trigger_phrase_changed(
    object_store: ObjectStore,
) -> None:
    upload(object_store, a_jpg=photo(1), a_txt=b"smiling")
    dataset = scanned(object_store)
    first = write_captions(object_store, dataset, BY_HAND).manifest
    assert write_captions(object_store, dataset, BY_HAND).manifest == first
    renamed = CaptionSettings(trigger_phrase="ohwx", class_caption="woman")
    assert write_captions(object_store, dataset, renamed).manifest.version != first.version
    upload(object_store, a_txt=b"laughing")
    assert (
        write_captions(object_store, scanned(object_store), BY_HAND).manifest.version
        != first.version
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smiling", "bella woman, smiling"),
        ("bella woman", "bella woman"),
        ("bella woman, smiling", "bella woman, smiling"),
        ("bella woman on a beach", "bella woman on a beach"),
        ("bella womanly", "bella woman, bella womanly"),
        ("a photo of bella woman", "bella woman, a photo of bella woman"),
        ("", "bella woman"),
    ],
)
def test_the_trigger_phrase_comes_first_and_once(text: str, expected: str) -> None:
    assert trigger_first("bella woman", text) == expected


@given(st.text(min_size=1), st.text())
def test_putting_the_trigger_phrase_first_twice_is_doing_it_once(trigger: str, text: str) -> None:
    once = trigger_first(trigger, text)
    assert once.startswith(trigger)
    assert trigger_first(trigger, once) == once


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfbella, smiling", "bella, smiling"),
        ("bella im Café".encode("utf-16"), "bella im Café"),
        (b"\xfe\xff" + "bella im Café".encode("utf-16-be"), "bella im Café"),
        (b"bella,\tsmiling\r\n", "bella, smiling"),
        ("bella\u00a0à la plage, 1\u202f% off".encode(), "bella\u00a0à la plage, 1\u202f% off"),
        ("\u0645\u06cc\u200c\u062e".encode(), "\u0645\u06cc\u200c\u062e"),
        ("\U0001f469\u200d\U0001f4bb\u3000笑顔".encode(), "\U0001f469\u200d\U0001f4bb\u3000笑顔"),
    ],
    ids=["utf-8 mark", "utf-16", "utf-16 big", "tab", "French blanks", "Persian joiner", "emoji"],
)
def test_a_caption_of_any_language_is_read(data: bytes, text: str) -> None:
    assert parse_sidecar(data) == text


@given(st.binary() | st.text(st.characters(exclude_categories=["Cs"])).map(str.encode))
def test_a_sidecar_is_one_line_of_plain_text_or_a_value_error(data: bytes) -> None:
    try:
        text = parse_sidecar(data)
    except ValueError:
        return
    assert text_problem(text) is None
    assert text.splitlines() == [text]
    assert text == text.strip()
    assert 1 <= len(text) <= MAX_CAPTION_LENGTH
    assert text in data.decode().replace("\t", " ")


def test_a_byte_order_mark_is_no_part_of_a_caption() -> None:
    assert parse_sidecar(b"\xef\xbb\xbfsmiling\r\n") == "smiling"
