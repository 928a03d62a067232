"""The whole pipeline in one process: uploads → dataset → captions → LoRA → samples → pictures."""

import importlib
import threading
import time
from typing import Any

import dagster as dg
import psutil
import pytest
from sqlalchemy import text

from influencerai_dagster.core.job_states import (
    JobKind,
    JobStatus,
)
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.db import run_heartbeats
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.definitions import build_definitions, build_resources
from influencerai_dagster.generation import queue as ledger
from influencerai_dagster.orchestration.resources import run_heartbeat
from influencerai_dagster.orchestration.training import loras
from influencerai_dagster.training.loras import train_lora
from influencerai_dagster_tests.integration.orchestration.conftest import (
    MAX_TRAIN_STEPS,
    Studio,
    failure_text,
    photo,
)
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator

DATASET = "demo/bella"
DAY = "demo/2026-11-23"
TRAIN = {"ops": {"train_lora": {"config": {"overrides": {"max_train_steps": MAX_TRAIN_STEPS}}}}}


def materialization(studio: Studio, asset: str, partition: str) -> dg.AssetMaterialization:
    records = studio.instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition]), limit=1
    ).records
    found = records[0].asset_materialization
    assert found is not None
    return found


def metadata(studio: Studio, asset: str, partition: str) -> dict[str, Any]:
    return {
        name: value.value
        for name, value in materialization(studio, asset, partition).metadata.items()
    }


@pytest.fixture
def trained(studio: Studio) -> Studio:
    """A studio with a dataset of three photos, a duplicate and a broken one, and its LoRA."""
    for index in range(3):
        studio.upload("demo", "bella", f"{index}.jpg", photo(index))
    studio.upload("demo", "bella", "0.txt", b"bella smiling")
    studio.upload("demo", "bella", "copy.jpg", photo(0))
    studio.upload("demo", "bella", "broken.jpg", photo(9)[:500])
    assert studio.run("build_dataset_job", DATASET).success
    assert studio.run("train_lora_job", DATASET, TRAIN).success
    return studio


def jobs(studio: Studio, run_config_jobs: list[dict[str, Any]], kind: str = "images") -> Any:
    config = {"ops": {f"render_{kind}": {"config": {"jobs": run_config_jobs}}}}
    return studio.run(f"generate_{kind}_job", DAY, config)


def all_jobs(studio: Studio) -> list[ledger.Job]:
    with transaction(studio.engine) as session:
        return ledger.list_jobs(session, "demo")


def test_photos_become_a_lora_pictures_and_a_clip(trained: Studio) -> None:
    found = metadata(trained, "dataset", DATASET)
    assert (found["images"], found["rejected"]) == (3, 2)
    assert found["contact_sheet"].startswith("![accepted images](data:image/jpeg;base64,")
    assert metadata(trained, "captions", DATASET)["sources"] == {"sidecar": 1, "class": 2}
    lora = metadata(trained, "lora_weights", DATASET)
    assert lora["steps"] == MAX_TRAIN_STEPS
    assert next(iter(lora)) == "loss_curve"
    assert lora["loss_curve"].startswith("![loss by step](data:image/png;base64,")
    assert metadata(trained, "lora_samples", DATASET)["pictures"] == 6

    prompt = {"prompt": "bella at the beach", "loras": [{"dataset": "bella"}], "seed": 7}
    assert jobs(trained, [prompt]).success
    (picture,) = all_jobs(trained)
    assert picture.status == JobStatus.COMPLETED
    assert trained.store.head(f"images/demo/{picture.id}/output.png") is not None
    output = trained.store.get(f"images/demo/{picture.id}/output.json").decode()
    assert lora["lora_id"] in output
    assert metadata(trained, "generated_images", DAY)["completed"] == 1

    clip_request = {"source_job_id": str(picture.id), "num_frames": 6, "aspect_ratio": "1:1"}
    assert jobs(trained, [clip_request], "videos").success
    clip = next(job for job in all_jobs(trained) if job.kind == JobKind.VIDEO)
    assert trained.store.head(f"videos/demo/{clip.id}/output.mp4") is not None


def test_a_training_on_a_shared_gpu_has_comfyui_s_memory_and_says_so(
    studio: Studio, comfyui: ComfyUISimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.upload("demo", "bella", "a.jpg", photo(1))
    assert studio.run("build_dataset_job", DATASET).success
    settings = studio.settings.model_copy(update={"gpu_shared": True})
    studio.definitions = build_definitions(settings, build_resources(settings))
    freed_before = comfyui.stats()["free_requests"]

    def gpu_holder() -> str | None:
        with transaction(studio.engine) as session:
            return run_heartbeats.gpu_holder(session)

    def watched(*arguments: Any, **options: Any) -> LoraManifest:
        assert comfyui.stats()["free_requests"] == freed_before + 1
        deadline = time.monotonic() + 20
        while gpu_holder() != f"train_lora {DATASET}":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return train_lora(*arguments, **options)

    monkeypatch.setattr(loras, "run_training", watched)
    assert studio.run("train_lora_job", DATASET, TRAIN).success
    assert gpu_holder() is None


def test_a_training_whose_run_was_ended_while_it_was_silent_stops(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.upload("demo", "bella", "a.jpg", photo(1))
    assert studio.run("build_dataset_job", DATASET).success
    monkeypatch.setattr(run_heartbeat, "BEAT_SECONDS", 0.05)
    monkeypatch.setenv("SIMULATOR_KOHYA_SECONDS_PER_STEP", "60")
    trained_in = studio.settings.training_dir
    trainers: list[psutil.Process] = []

    def end_the_run() -> None:
        deadline = time.monotonic() + 30
        while not trainers and time.monotonic() < deadline:
            time.sleep(0.05)
            trainers.extend(
                process
                for process in psutil.Process().children(recursive=True)
                if any(str(trained_in) in part for part in process.cmdline())
            )
        with transaction(studio.engine) as session:
            session.execute(text("DELETE FROM run_heartbeats"))

    thread = threading.Thread(target=end_the_run)
    thread.start()
    result = studio.run("train_lora_job", DATASET, TRAIN)
    thread.join()

    assert not result.success
    assert trainers
    assert not any(process.is_running() for process in trainers)


def test_the_same_content_is_not_trained_twice(trained: Studio) -> None:
    first = materialization(trained, "lora_weights", DATASET)

    assert trained.run("build_dataset_job", DATASET).success
    assert trained.run("train_lora_job", DATASET, TRAIN).success

    again = materialization(trained, "lora_weights", DATASET)
    assert again.metadata["lora_id"] == first.metadata["lora_id"]


def test_a_failed_job_stops_neither_the_others_nor_the_run(trained: Studio) -> None:
    good = {"prompt": "bella", "loras": [{"dataset": "bella"}]}
    bad = {**good, "base_model": "sd_xl_base_1.0.safetensors"}

    assert jobs(trained, [bad, good]).success

    by_status = {job.status: job for job in all_jobs(trained)}
    assert "fits base models of sd15" in str(by_status[JobStatus.FAILED].error)
    assert by_status[JobStatus.COMPLETED].result is not None
    assert metadata(trained, "generated_images", DAY)["failed"] == 1


def test_a_run_that_brings_a_job_for_an_unknown_workflow_fails_at_once(studio: Studio) -> None:
    result = jobs(studio, [{"prompt": "bella"}, {"prompt": "bella", "workflow": "no_such"}])

    assert not result.success
    assert "jobs[1] cannot be used: workflow: workflow 'no_such' is neither" in failure_text(result)
    assert all_jobs(studio) == []


def test_a_run_whose_jobs_are_done_already_tells_them(trained: Studio) -> None:
    order = {"prompt": "bella", "idempotency_key": "order-17"}
    assert jobs(trained, [order]).success
    (job,) = all_jobs(trained)

    assert jobs(trained, [order]).success

    found = materialization(trained, "generated_images", DAY).metadata
    table = found["jobs"]
    assert isinstance(table, dg.TableMetadataValue)
    assert [record.data["job_id"] for record in table.records] == [str(job.id)]
    assert (found["completed"].value, found["outputs_of_day"].value) == (1, 1)


def test_more_jobs_than_a_tenant_may_have_fail_the_run_at_once(studio: Studio) -> None:
    limit = studio.settings.max_pending_jobs_per_tenant
    result = jobs(studio, [{"prompt": "x"}] * (limit + 1))

    assert not result.success
    assert f"may have {limit} (MAX_PENDING_JOBS_PER_TENANT)" in failure_text(result)
    assert not any(event.is_step_up_for_retry for event in result.all_events)
    assert all_jobs(studio) == []


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
    studio: Studio, job: dict[str, Any], says: str
) -> None:
    result = jobs(studio, [job])

    assert not result.success
    assert says in failure_text(result)
    assert all_jobs(studio) == []


def test_an_unknown_tenant_fails_with_how_to_add_it(studio: Studio) -> None:
    studio.upload("nobody", "bella", "a.jpg", photo(1))

    result = studio.run("build_dataset_job", "nobody/bella")

    assert "influencerai tenant add" in failure_text(result)


@pytest.mark.parametrize("key", ["a/../b/x", "demo", "demo/Bella", "demo/bella\n", "/demo/bella"])
def test_a_hostile_partition_key_fails_and_writes_nothing(studio: Studio, key: str) -> None:
    result = studio.run("build_dataset_job", key)

    assert "not allowed" in failure_text(result) or "not of the form" in failure_text(result)
    assert list(studio.store.list("")) == []


def test_a_day_that_is_no_date_fails(studio: Studio) -> None:
    result = studio.run("generate_images_job", "demo/2026-02-30")

    assert "is not a date" in failure_text(result)


def test_a_training_that_fails_says_kohyas_cause_and_leaves_only_its_log(studio: Studio) -> None:
    studio.upload("demo", "bella", "a.jpg", photo(1))
    assert studio.run("build_dataset_job", DATASET).success
    studio.environment.setenv("SIMULATOR_KOHYA_FAULT", "nan")

    result = studio.run("train_lora_job", DATASET, TRAIN)

    assert "its loss became nan" in failure_text(result)
    assert list(studio.store.list("loras/")) == []
    (log,) = studio.settings.training_dir.glob("demo/*/train.log")
    assert str(log) in failure_text(result)


def test_all_uploads_rejected_blocks_the_captions(studio: Studio) -> None:
    studio.upload("demo", "bella", "a.png", b"this is a text")

    result = studio.run("build_dataset_job", DATASET)

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
        ("build_dataset_job", "assets.datasets.scan_dataset", DATASET, "datasets"),
        ("build_dataset_job", "assets.captions.write_captions", DATASET, "datasets"),
        ("train_lora_job", "ops.loras.run_training", DATASET, "datasets"),
        ("train_lora_job", "ops.loras.render_samples", DATASET, "datasets"),
        ("generate_images_job", "ops.rendering.rendering_metadata", DAY, "content_days"),
    ],
)
def test_a_partition_that_is_deleted_while_its_run_works_comes_back(
    studio: Studio, job: str, work: str, partition: str, set_name: str
) -> None:
    studio.upload("demo", "bella", "0.jpg", photo(0))
    config = None
    if job == "train_lora_job":
        assert studio.run("build_dataset_job", DATASET).success
        config = TRAIN
    module, _, name = f"influencerai_dagster.orchestration.{work}".rpartition(".")
    function = getattr(importlib.import_module(module), name)

    def delete_and_work(*args: Any, **kwargs: Any) -> Any:
        studio.instance.delete_dynamic_partition(set_name, partition)
        return function(*args, **kwargs)

    studio.environment.setattr(f"{module}.{name}", delete_and_work)
    result = studio.run(job, partition, config)
    assert result.success, failure_text(result)
    assert studio.instance.has_dynamic_partition(set_name, partition)
