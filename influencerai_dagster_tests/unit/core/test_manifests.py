"""Manifests: their versions are their content, and their keys lie below their tenant."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.captions import Caption, CaptionsManifest, CaptionSource
from influencerai_dagster.core.manifests.dataset import DatasetImage, DatasetManifest, Rights
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.catalog_rows import lora_manifest
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

KEY = DatasetKey("demo", "bella")
IMAGE = DatasetImage(
    file_name="a.jpg",
    object_key="datasets/demo/bella/images/a.jpg",
    size_bytes=10,
    sha256="0" * 64,
    format="JPEG",
    width_px=512,
    height_px=768,
    perceptual_hash="0" * 16,
)


def dataset(**changes: Any) -> DatasetManifest:
    image = IMAGE.model_copy(update=changes)
    return DatasetManifest.build(KEY, images=(image,), rejected=(), rights=None)


def captions(text: str) -> CaptionsManifest:
    caption = Caption(file_name="a.jpg", text=text, source=CaptionSource.SIDECAR)
    return CaptionsManifest.build(
        KEY, dataset_version="1" * 32, trigger_phrase="bella", captions=(caption,)
    )


def test_the_same_content_is_the_same_version_and_key() -> None:
    assert dataset() == dataset()
    assert dataset().object_key() == f"datasets/demo/bella/manifests/{dataset().version}.json"
    written = captions("bella, smiling")
    assert written.object_key() == f"datasets/demo/bella/captions/{written.version}.json"


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "1" * 64}, {"caption_sha256": "1" * 64}, {"file_name": "b.jpg"}, {"width_px": 1}],
    ids=str,
)
def test_any_change_of_an_image_is_another_dataset_version(changes: dict[str, Any]) -> None:
    assert dataset(**changes).version != dataset().version


def test_rights_are_part_of_the_dataset_version() -> None:
    rights = Rights(subject="synthetic", evidence="drawn by us", licence="CC0-1.0")
    with_rights = DatasetManifest.build(KEY, images=(IMAGE,), rejected=(), rights=rights)
    assert with_rights.version != dataset().version


def test_another_caption_is_another_captions_version() -> None:
    assert captions("bella, smiling").version != captions("bella, laughing").version


@pytest.mark.parametrize(
    "manifest", [dataset(), captions("x"), lora_manifest()], ids=["dataset", "captions", "lora"]
)
def test_a_manifest_comes_back_from_json(manifest: Any) -> None:
    assert type(manifest).model_validate_json(manifest.model_dump_json(indent=2)) == manifest


def test_an_unknown_field_of_a_manifest_is_refused() -> None:
    with pytest.raises(ValidationError):
        DatasetManifest.model_validate({**dataset().model_dump(), "tenant_id": "other"})


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_manifest_with_a_hostile_name_has_no_object_key(name: str) -> None:
    for changes in ({"tenant": name}, {"dataset": name}):
        with pytest.raises(PermanentError):
            dataset().model_copy(update=changes).object_key()
    for changes in ({"tenant": name}, {"lora_id": name}):
        with pytest.raises(PermanentError):
            lora_manifest().model_copy(update=changes).object_key()


def test_the_version_of_a_day_is_what_its_outputs_hold() -> None:
    def day(sha256: str) -> DayManifest:
        file = StoredFile(object_key="images/demo/x/output.png", sha256=sha256, size_bytes=1)
        return DayManifest(
            tenant="demo", day=date(2026, 11, 23), kind="images", outputs=(file,)
        )  # fmt: skip

    assert day("0" * 64).version == day("0" * 64).version != day("1" * 64).version
    assert day("0" * 64).object_key().startswith("images/demo/days/2026-11-23/")


def test_the_version_of_a_lora_is_its_weights_whenever_it_was_made() -> None:
    later = lora_manifest(created_at=datetime(2030, 1, 1, tzinfo=UTC))
    assert later.version == lora_manifest().version == lora_manifest().weights_sha256[:32]
