"""The whole pipeline in one process: uploads → dataset → captions → LoRA → samples → images."""

import importlib
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.core.job_states import JobKind, JobStatus
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.db import running_trainings
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.definitions import build_definitions, build_resources
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.orchestration.training import loras
from influencerai_dagster.settings import settings_from
from influencerai_dagster.storage.manifests import Published
from influencerai_dagster.training.loras import train_lora
from influencerai_dagster_tests.testing.code_location import (
    MAX_TRAIN_STEPS,
    CodeLocation,
    failure_text,
    photo,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.waiting import wait_until

DATASET = "demo/bella"
DAY = "demo/2026-11-23"
TRAIN = {"ops": {"train_lora": {"config": {"overrides": {"max_train_steps": MAX_TRAIN_STEPS}}}}}


def materialization(
    code_location: CodeLocation, asset: str, partition: str
) -> dg.AssetMaterialization:
    records = code_location.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records
    found = records[0].asset_materialization
    assert found is not None
    return found


def metadata(code_location: CodeLocation, asset: str, partition: str) -> dict[str, Any]:
    return {
        name: value.value
        for name, value in materialization(code_location, asset, partition).metadata.items()
    }


@pytest.fixture
def trained(code_location: CodeLocation) -> CodeLocation:
    """A studio with a dataset of three photos, a duplicate and a broken one, and its LoRA."""
    for index in range(3):
        code_location.upload("demo", "bella", f"{index}.jpg", photo(index))
    code_location.upload("demo", "bella", "0.txt", b"bella smiling")
    code_location.upload("demo", "bella", "copy.jpg", photo(0))
    code_location.upload("demo", "bella", "broken.jpg", photo(9)[:500])
    assert code_location.run("build_dataset_job", DATASET).success
    assert code_location.run("train_lora_job", DATASET, TRAIN).success
    return code_location


def jobs(
    code_location: CodeLocation, run_config_jobs: list[dict[str, Any]], kind: str = "images"
) -> Any:
    config = {"ops": {f"render_{kind}": {"config": {"jobs": run_config_jobs}}}}
    return code_location.run(f"generate_{kind}_job", DAY, config)


def all_jobs(code_location: CodeLocation) -> list[job_queue.Job]:
    with transaction(code_location.engine) as session:
        return job_queue.list_jobs(session, "demo")


def test_photos_become_a_lora_images_and_a_video(trained: CodeLocation) -> None:
    found = metadata(trained, "dataset", DATASET)
    assert (found["images"], found["rejected"]) == (3, 2)
    assert found["contact_sheet"].startswith("![accepted images](data:image/jpeg;base64,")
    assert metadata(trained, "captions", DATASET)["sources"] == {"sidecar": 1, "class": 2}
    lora = metadata(trained, "lora_weights", DATASET)
    assert lora["steps"] == MAX_TRAIN_STEPS
    assert next(iter(lora)) == "loss_curve"
    assert lora["loss_curve"].startswith("![loss by step](data:image/png;base64,")
    assert metadata(trained, "lora_samples", DATASET)["samples"] == 6

    prompt = {"prompt": "bella at the beach", "loras": [{"dataset": "bella"}], "seed": 7}
    assert jobs(trained, [prompt]).success
    (image,) = all_jobs(trained)
    assert image.status == JobStatus.COMPLETED
    assert trained.store.head(f"images/demo/{image.id}/output.png") is not None
    output = trained.store.get(f"images/demo/{image.id}/output.json").decode()
    assert lora["lora_id"] in output
    assert metadata(trained, "generated_images", DAY)["completed"] == 1

    video_request = {"source_job_id": str(image.id), "num_frames": 6, "aspect_ratio": "1:1"}
    assert jobs(trained, [video_request], "videos").success
    video = next(job for job in all_jobs(trained) if job.kind == JobKind.VIDEO)
    assert trained.store.head(f"videos/demo/{video.id}/output.mp4") is not None

    assert jobs(trained, [{"source_job_id": str(image.id)}], "upscales").success
    upscale = next(job for job in all_jobs(trained) if job.kind == JobKind.UPSCALE)
    assert trained.store.head(f"upscales/demo/{upscale.id}/output.png") is not None
    found = metadata(trained, "generated_upscales", DAY)
    assert found["completed"] == 1
    assert found["contact_sheet"].startswith("![outputs of this run](data:image/jpeg;base64,")


def test_a_training_on_a_shared_gpu_has_comfyui_s_memory_and_says_so(
    code_location: CodeLocation, comfyui: ComfyUISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    code_location.upload("demo", "bella", "a.jpg", photo(1))
    assert code_location.run("build_dataset_job", DATASET).success
    settings = settings_from(code_location.settings.variables_set() | {"GPU_SHARED": True})
    code_location.definitions = build_definitions(settings, build_resources(settings))
    freed_before = comfyui.stats()["free_requests"]

    def gpu_owner() -> str | None:
        with transaction(code_location.engine) as session:
            return running_trainings.gpu_owner(session)

    def watched(*arguments: Any, **options: Any) -> Published[LoraManifest]:
        assert comfyui.stats()["free_requests"] == freed_before + 1
        activity = f"train_lora {DATASET}"
        wait_until(lambda: gpu_owner() == activity, "the training holds the GPU")
        return train_lora(*arguments, **options)

    monkeypatch.setattr(loras, "run_training", watched)
    assert code_location.run("train_lora_job", DATASET, TRAIN).success
    assert gpu_owner() is None


def test_the_same_content_is_not_trained_twice(trained: CodeLocation) -> None:
    first = materialization(trained, "lora_weights", DATASET)

    assert trained.run("build_dataset_job", DATASET).success
    assert trained.run("train_lora_job", DATASET, TRAIN).success

    again = materialization(trained, "lora_weights", DATASET)
    assert again.metadata["lora_id"] == first.metadata["lora_id"]


def test_a_failed_job_stops_neither_the_others_nor_the_run(trained: CodeLocation) -> None:
    good = {"prompt": "bella", "loras": [{"dataset": "bella"}]}
    bad = {**good, "base_model": "sd_xl_base_1.0.safetensors"}

    assert jobs(trained, [bad, good]).success

    by_status = {job.status: job for job in all_jobs(trained)}
    assert "fits base models of sd15" in str(by_status[JobStatus.FAILED].error)
    assert by_status[JobStatus.COMPLETED].result is not None
    assert metadata(trained, "generated_images", DAY)["failed"] == 1


def test_a_run_that_brings_a_job_for_an_unknown_workflow_fails_at_once(
    code_location: CodeLocation,
) -> None:
    result = jobs(code_location, [{"prompt": "bella"}, {"prompt": "bella", "workflow": "no_such"}])

    assert not result.success
    assert "jobs[1] cannot be used: workflow: workflow 'no_such' is neither" in failure_text(result)
    assert all_jobs(code_location) == []


def test_a_run_whose_jobs_are_done_already_tells_them(trained: CodeLocation) -> None:
    order = {"prompt": "bella", "idempotency_key": "order-17"}
    assert jobs(trained, [order]).success
    (job,) = all_jobs(trained)

    assert jobs(trained, [order]).success

    found = materialization(trained, "generated_images", DAY).metadata
    table = found["jobs"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["job_id"] for record in table.records] == [str(job.id)]
    assert (found["completed"].value, found["outputs_of_day"].value) == (1, 1)


def test_more_jobs_than_a_tenant_may_have_fail_the_run_at_once(code_location: CodeLocation) -> None:
    limit = code_location.settings.generation.max_pending_jobs_per_tenant
    result = jobs(code_location, [{"prompt": "x"}] * (limit + 1))

    assert not result.success
    assert f"may have {limit} (MAX_PENDING_JOBS_PER_TENANT)" in failure_text(result)
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    assert all_jobs(code_location) == []


@pytest.mark.parametrize(
    ("job", "says"),
    [
        pytest.param({"prompt": ""}, "prompt", id="empty prompt"),
        pytest.param({"prompt": "x", "stepz": 3}, "stepz", id="unknown field"),
        pytest.param({"prompt": "x", "seed": -1}, "seed", id="seed below 0"),
        pytest.param({"prompt": "x", "loras": [{"dataset": "other"}]}, "other", id="unknown LoRA"),
    ],
)
def test_a_job_that_cannot_be_used_fails_the_run_with_its_field(
    code_location: CodeLocation, job: dict[str, Any], says: str
) -> None:
    result = jobs(code_location, [job])

    assert not result.success
    assert says in failure_text(result)
    assert all_jobs(code_location) == []


def test_an_unknown_tenant_fails_with_how_to_add_it(code_location: CodeLocation) -> None:
    code_location.upload("nobody", "bella", "a.jpg", photo(1))

    result = code_location.run("build_dataset_job", "nobody/bella")

    assert "influencerai tenant add" in failure_text(result)


@pytest.mark.parametrize("key", ["a/../b/x", "demo", "demo/Bella", "demo/bella\n", "/demo/bella"])
def test_a_hostile_partition_key_fails_and_writes_nothing(
    code_location: CodeLocation, key: str
) -> None:
    result = code_location.run("build_dataset_job", key)

    assert "not allowed" in failure_text(result) or "not of the form" in failure_text(result)
    assert list(code_location.store.list("")) == []


def test_a_day_that_is_no_date_fails(code_location: CodeLocation) -> None:
    result = code_location.run("generate_images_job", "demo/2026-02-30")

    assert "is not a date" in failure_text(result)


def test_a_training_that_fails_says_kohyas_cause_and_leaves_only_its_log(
    code_location: CodeLocation,
) -> None:
    code_location.upload("demo", "bella", "a.jpg", photo(1))
    assert code_location.run("build_dataset_job", DATASET).success
    code_location.environment.setenv("SIMULATOR_KOHYA_FAULT", "nan")

    result = code_location.run("train_lora_job", DATASET, TRAIN)

    assert "its loss became nan" in failure_text(result)
    assert list(code_location.store.list("loras/")) == []
    (log,) = code_location.settings.training.dir.glob("demo/*/train.log")
    assert str(log) in failure_text(result)


def test_all_uploads_rejected_blocks_the_captions(code_location: CodeLocation) -> None:
    code_location.upload("demo", "bella", "a.png", b"this is a text")

    result = code_location.run("build_dataset_job", DATASET)

    assert not result.success
    checks = {check.check_name: check.passed for check in result.get_asset_check_evaluations()}
    assert checks["dataset_has_images"] is False
    assert "captions" not in {
        key.to_user_string()
        for event in result.get_asset_materialization_events()
        if (key := event.asset_key)
    }


@pytest.mark.parametrize(
    ("job", "work", "partition", "set_name"),
    [
        ("build_dataset_job", "training.datasets.build_dataset", DATASET, "datasets"),
        ("build_dataset_job", "training.captions.write_captions", DATASET, "datasets"),
        ("train_lora_job", "training.loras.run_training", DATASET, "datasets"),
        ("train_lora_job", "training.loras.render_samples", DATASET, "datasets"),
        ("generate_images_job", "generation.worker.rendering_metadata", DAY, "content_days"),
    ],
)
def test_a_partition_that_is_deleted_while_its_run_works_comes_back(
    code_location: CodeLocation, job: str, work: str, partition: str, set_name: str
) -> None:
    code_location.upload("demo", "bella", "0.jpg", photo(0))
    config = None
    if job == "train_lora_job":
        assert code_location.run("build_dataset_job", DATASET).success
        config = TRAIN
    module, _, name = f"influencerai_dagster.orchestration.{work}".rpartition(".")
    function = getattr(importlib.import_module(module), name)

    def delete_and_work(*args: Any, **kwargs: Any) -> Any:
        code_location.instance.delete_dynamic_partition(set_name, partition)
        return function(*args, **kwargs)

    code_location.environment.setattr(f"{module}.{name}", delete_and_work)
    result = code_location.run(job, partition, config)
    assert result.success, failure_text(result)
    assert code_location.instance.has_dynamic_partition(set_name, partition)
