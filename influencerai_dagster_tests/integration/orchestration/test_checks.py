"""Every asset check: what passes, what fails, and what the operator then reads."""

from collections.abc import Mapping
from typing import Any, Literal

import dagster as dg
import pytest

from influencerai_dagster.core.dagster_names import GENERATED_ASSETS
from influencerai_dagster.core.dataset_rules import RejectReason
from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.captions import Caption, CaptionsManifest, CaptionSource
from influencerai_dagster.core.manifests.dataset import DatasetManifest, RejectedUpload, Rights
from influencerai_dagster.core.manifests.loras import LoraSample, LoraSamplesManifest
from influencerai_dagster.core.manifests.outputs import DayManifest
from influencerai_dagster.core.refused_images import RefusedImage
from influencerai_dagster.core.stored_file import StoredFile
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.generation.checks import (
    jobs_completed_check,
    outputs_stored_check,
)
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.resources.limits import Limits
from influencerai_dagster.orchestration.training.checks import (
    captioner_refused_no_image,
    dataset_captions_check,
    dataset_has_images,
    dataset_rights_check,
    every_image_can_be_trained,
    every_image_has_a_caption,
    lora_changes_the_image,
    lora_weights_are_stored,
)
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.lora_configs import put_lora_config
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    dataset_manifest,
    image_request,
    lora_manifest,
)

REJECTED = RejectedUpload(file_name="b.jpg", reason=RejectReason.TOO_LARGE, detail="9 bytes")
RIGHTS = Rights(subject="consented", evidence="contract 7", licence="CC0-1.0")
KEY = DatasetKey("demo", "bella")


def run(check: dg.AssetChecksDefinition, *arguments: Any, **resources: Any) -> dg.AssetCheckResult:
    result = check(*arguments, **resources)
    assert isinstance(result, dg.AssetCheckResult)
    return result


def values(result: dg.AssetCheckResult) -> Mapping[str, Any]:
    return {
        name: value.value for name, value in (result.metadata or {}).items() if value is not None
    }


def test_a_dataset_with_an_image_passes() -> None:
    assert run(dataset_has_images, dataset_manifest()).passed


def test_a_dataset_whose_uploads_were_all_rejected_fails_and_says_how_many() -> None:
    manifest = DatasetManifest.build(KEY, images=(), rejected=(REJECTED,), rights=None)
    result = run(dataset_has_images, manifest)
    assert not result.passed
    assert "all 1 uploads were rejected" in str(result.description)


def test_an_image_without_a_bucket_at_the_tenants_resolution_is_named(
    catalog: Catalog,
) -> None:
    limits = Limits(settings_from({}))
    manifest = dataset_manifest()
    assert run(every_image_can_be_trained, manifest, catalog=catalog, limits=limits).passed
    long = manifest.images[0].model_copy(update={"width_px": 256, "height_px": 20_000})
    odd = manifest.model_copy(update={"images": (long, *manifest.images[1:])})
    result = run(every_image_can_be_trained, odd, catalog=catalog, limits=limits)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert f"1 of {len(odd.images)} images are left out" in str(result.description)
    assert f"{long.file_name} has 256×20000 px" in str(result.description)
    with transaction(catalog.engine) as session:
        put_lora_config(session, "demo", "large", preset="sdxl-face", overrides={}, is_default=True)
    assert run(every_image_can_be_trained, odd, catalog=catalog, limits=limits).passed


UNPAIRED = RejectedUpload(
    file_name="notes.txt", reason=RejectReason.CAPTION_UNPAIRED, detail="no image has its name"
)


def test_a_caption_of_no_image_holds_a_dataset_in_which_an_image_has_none() -> None:
    manifest = dataset_manifest().model_copy(update={"rejected": (UNPAIRED, REJECTED)})
    result = run(dataset_captions_check(is_blocking=True), manifest)
    assert (result.passed, result.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "1 caption files belong to no image" in str(result.description)
    for words in (
        "notes.txt (no image has its name)",
        "No training starts by itself",
        "img001.txt for img001.jpg",
        "below datasets/demo/bella/images/ in the bucket",
        "DATASET_CAPTIONS=warn",
    ):
        assert words in str(result.description)
    assert values(result)["unpaired_captions"] == ["notes.txt (no image has its name)"]
    warned = run(dataset_captions_check(is_blocking=False), manifest)
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "No training starts" not in str(warned.description)


def test_a_caption_of_no_image_loses_nothing_where_every_image_has_its_own() -> None:
    manifest = dataset_manifest()
    captioned = tuple(
        image.model_copy(update={"caption_object_key": "a.txt"}) for image in manifest.images
    )
    whole = manifest.model_copy(update={"rejected": (UNPAIRED,), "images": captioned})
    result = run(dataset_captions_check(is_blocking=True), whole)
    assert result.passed
    assert "1 caption files belong to no image" in str(result.description)


def test_a_dataset_without_any_caption_file_passes() -> None:
    assert run(dataset_captions_check(is_blocking=True), dataset_manifest()).passed


def test_recorded_rights_pass_and_are_shown() -> None:
    manifest = dataset_manifest().model_copy(update={"rights": RIGHTS})
    result = run(dataset_rights_check(is_blocking=True), manifest)
    assert result.passed
    assert result.description == "consented, CC0-1.0: contract 7"


@pytest.mark.parametrize("severity", ["ERROR", "WARN"])
def test_missing_rights_fail_as_severely_as_the_setting_says(severity: str) -> None:
    result = run(dataset_rights_check(is_blocking=severity == "ERROR"), dataset_manifest())
    assert not result.passed
    assert result.severity.value == severity
    assert "rights.json" in str(result.description)


def captions(*texts: str) -> CaptionsManifest:
    return CaptionsManifest.build(
        KEY,
        dataset_version="0" * 32,
        trigger_phrase="bella",
        captions=tuple(
            Caption(file_name=f"img{index}.jpg", text=text, source=CaptionSource.SIDECAR)
            for index, text in enumerate(texts)
        ),
    )


def test_a_caption_for_every_image_passes() -> None:
    result = run(every_image_has_a_caption, captions("bella, at home", "bella"), dataset_manifest())
    assert result.passed
    assert result.description == "2 captions for 2 images"


def test_a_refused_image_is_a_warning_with_its_name_and_reason() -> None:
    none = run(captioner_refused_no_image, captions("bella"))
    assert none.passed
    refused = (RefusedImage(file_name="img1.jpg", why="content_filter"),)
    result = run(
        captioner_refused_no_image,
        captions("bella").model_copy(update={"refused": refused}),
    )
    assert not result.passed
    assert result.severity == dg.AssetCheckSeverity.WARN
    assert values(result) == {"refused": ["img1.jpg: content_filter"]}


@pytest.mark.parametrize(
    ("texts", "without_caption", "without_trigger_phrase"),
    [
        pytest.param(("bella",), ["img1.jpg"], [], id="an image has none"),
        pytest.param(("bella", ""), ["img1.jpg"], ["img1.jpg"], id="one is empty"),
        pytest.param(("bella", "at home"), [], ["img1.jpg"], id="one lacks the trigger phrase"),
        pytest.param(("bella", "at home, bella"), [], ["img1.jpg"], id="the phrase is not first"),
        pytest.param((), ["img0.jpg", "img1.jpg"], [], id="no captions at all"),
    ],
)
def test_captions_that_kohya_would_train_silently_without_fail_with_their_images(
    texts: tuple[str, ...], without_caption: list[str], without_trigger_phrase: list[str]
) -> None:
    result = run(every_image_has_a_caption, captions(*texts), dataset_manifest())
    assert not result.passed
    assert values(result) == {
        "without_caption": without_caption,
        "without_trigger_phrase": without_trigger_phrase,
    }


WEIGHTS = b"weights"
STEPS = lora_manifest().config.max_train_steps


@pytest.mark.parametrize(
    ("stored", "steps", "passes"),
    [
        pytest.param(WEIGHTS, STEPS, "passes", id="stored and trained"),
        pytest.param(None, STEPS, "missing of 7 bytes", id="missing"),
        pytest.param(WEIGHTS[:-1], STEPS, "6 of 7 bytes", id="truncated"),
        pytest.param(WEIGHTS, STEPS - 1, f"{STEPS - 1} of {STEPS} steps", id="ended early"),
    ],
)
def test_weights_must_be_stored_whole_and_trained_to_the_end(
    object_store: ObjectStore,
    stored: bytes | None,
    steps: int,
    passes: str,
) -> None:
    manifest = lora_manifest(weights_size_bytes=len(WEIGHTS), steps=steps)
    if stored is not None:
        object_store.put_latest(manifest.weights_key, stored)
    # A LoRA of the same id of another tenant is not this one.
    object_store.put_latest(manifest.weights_key.replace("demo", "other"), WEIGHTS)

    result = run(lora_weights_are_stored, manifest, object_store=object_store)

    assert result.passed is (passes == "passes")
    assert result.passed or passes in str(result.description)


def sample(prompt: str, strength_model: float, content: str) -> LoraSample:
    return LoraSample(
        prompt=prompt,
        seed=1,
        strength_model=strength_model,
        object_key=f"images/{content}.png",
        sha256=sha256_hex(content.encode()),
        size_bytes=1,
    )


def samples(*items: LoraSample) -> LoraSamplesManifest:
    return LoraSamplesManifest(
        tenant="demo", dataset="bella", lora_id="lora1", samples=items, grid_key="images/grid.png"
    )


def test_a_lora_that_changes_every_image_passes() -> None:
    manifest = samples(
        sample("beach", 0, "1"),
        sample("beach", 1, "2"),
        sample("cafe", 0, "3"),
        sample("cafe", 1, "4"),
    )
    assert run(lora_changes_the_image, manifest).passed


def test_a_lora_without_effect_fails_and_names_prompt_and_strength() -> None:
    manifest = samples(
        sample("beach", 0, "1"),
        sample("beach", 0.5, "1"),
        sample("cafe", 0, "3"),
        sample("cafe", 1, "4"),
    )
    result = run(lora_changes_the_image, manifest)
    assert not result.passed
    assert result.description == "no effect: beach at 0.5"


def test_the_same_image_for_two_prompts_is_no_missing_effect() -> None:
    manifest = samples(sample("beach", 0, "1"), sample("beach", 1, "2"), sample("cafe", 1, "1"))
    assert run(lora_changes_the_image, manifest).passed


def day(store: ObjectStore, kind: Literal["images", "videos"], num_outputs: int) -> DayManifest:
    files = []
    for number in range(num_outputs):
        data = f"output {number}".encode()
        key = f"{kind}/demo/{number}/output"
        store.put_latest(key, data)
        files.append(StoredFile(object_key=key, sha256=sha256_hex(data), size_bytes=len(data)))
    return DayManifest(tenant="demo", day=DAY, kind=kind, outputs=tuple(files))


@pytest.mark.parametrize("asset", GENERATED_ASSETS.values())
@pytest.mark.parametrize("num_outputs", [0, 3])
def test_outputs_that_are_all_stored_pass(
    object_store: ObjectStore,
    asset: str,
    num_outputs: int,
) -> None:
    manifest = day(object_store, "images", num_outputs)
    result = run(outputs_stored_check(asset), manifest, object_store=object_store)
    assert result.passed
    assert result.description == f"{num_outputs} of {num_outputs} stored"


def test_outputs_that_are_gone_or_changed_fail_with_their_keys(
    object_store: ObjectStore,
) -> None:
    manifest = day(object_store, "videos", 3)
    object_store.delete("videos/demo/0/output")
    object_store.put_latest("videos/demo/2/output", b"x")

    check = outputs_stored_check("generated_videos")
    result = run(check, manifest, object_store=object_store)

    assert not result.passed
    assert result.description == "1 of 3 stored"
    assert values(result)["missing_or_changed"] == ["videos/demo/0/output", "videos/demo/2/output"]


def fail_a_job(catalog: Catalog, tenant: str) -> None:
    with transaction(catalog.engine) as session:
        job_queue.submit(session, tenant, DAY, [image_request()])
    job = claim_one(catalog.engine)
    with transaction(catalog.engine) as session:
        job_queue.fail(session, job.id, job.lease_token, PermanentError("no such workflow"))


@pytest.mark.parametrize(
    ("tenant", "kind", "failed"),
    [
        pytest.param(None, JobKind.IMAGE, 0, id="no job"),
        pytest.param("demo", JobKind.IMAGE, 1, id="one failed"),
        pytest.param("other", JobKind.IMAGE, 0, id="another tenant's failed"),
        pytest.param("demo", JobKind.VIDEO, 0, id="one of the other kind failed"),
    ],
)
def test_failed_jobs_of_the_day_are_a_warning_with_their_reasons(
    object_store: ObjectStore,
    catalog: Catalog,
    tenant: str | None,
    kind: JobKind,
    failed: int,
) -> None:
    if tenant is not None:
        fail_a_job(catalog, tenant)
    manifest = day(object_store, "images", 0)

    result = run(jobs_completed_check("generated_images", kind), manifest, catalog=catalog)

    assert result.passed is (failed == 0)
    assert result.severity == dg.AssetCheckSeverity.WARN
    reasons = values(result)["failed"]
    assert len(reasons) == failed
    assert all(reason.endswith(": no such workflow") for reason in reasons)


def test_a_store_that_is_away_asks_for_a_retry_and_fails_no_check(
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manifest = day(object_store, "images", 1)

    def be_away(_store: ObjectStore, _key: str) -> None:
        raise TransientError("S3 does not answer")

    monkeypatch.setattr(ObjectStore, "head", be_away)
    with pytest.raises(dg.RetryRequested):
        run(lora_weights_are_stored, lora_manifest(), object_store=object_store)
    with pytest.raises(dg.RetryRequested):
        run(outputs_stored_check("a"), manifest, object_store=object_store)
