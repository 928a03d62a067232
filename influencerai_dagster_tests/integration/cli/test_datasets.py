"""`influencerai dataset | lora | tenant remove` through a real web server."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.core.dagster_names import UPLOADS_TAG
from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.tenants import add_tenant, list_tenants, put_influencer
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.retention import legal_holds
from influencerai_dagster.storage.manifests import publish
from influencerai_dagster.training.upload_changes import uploads_fingerprint
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    dataset_manifest,
    lora_manifest,
    submit_one,
)
from influencerai_dagster_tests.testing.command_line import CommandLine
from influencerai_dagster_tests.testing.dagster_server import (
    job_origin,
    queued_instance,
    running_webserver,
)
from influencerai_dagster_tests.testing.ports import free_port
from influencerai_dagster_tests.testing.servers import S3Server

KEY = "demo/bella"
UPLOADS = "datasets/demo/bella/images/"
OF_BELLA = ("--tenant", "demo", "--dataset", "bella")


@pytest.fixture(scope="module")
def webserver() -> Iterator[tuple[dg.DagsterInstance, str]]:
    with queued_instance() as instance, running_webserver(instance) as url:
        yield instance, url


@pytest.fixture
def instance(webserver: tuple[dg.DagsterInstance, str]) -> Iterator[dg.DagsterInstance]:
    instance, _ = webserver
    yield instance
    for run in instance.get_runs():
        instance.delete_run(run.run_id)
    for asset in instance.get_asset_keys():
        instance.wipe_assets([asset])
    for partition_set in ("datasets", "content_days"):
        for key in instance.get_dynamic_partitions(partition_set):
            instance.delete_dynamic_partition(partition_set, key)


@pytest.fixture
def demo(
    cli: CommandLine, webserver: tuple[dg.DagsterInstance, str], instance: dg.DagsterInstance
) -> CommandLine:
    """The command line with tenants demo and other, and a web server without runs."""
    cli.environment.setenv("DAGSTER_URL", webserver[1])
    cli.environment.setenv("DATASET_SETTLE_SECONDS", "0")
    instance.add_dynamic_partitions("datasets", [KEY])
    with transaction(cli.engine) as session:
        for tenant in ("demo", "other"):
            add_tenant(session, tenant)
        put_influencer(
            session, "demo", "bella", dataset="bella", trigger_phrase="b", class_caption="c"
        )
    return cli


def materialize(instance: dg.DagsterInstance, asset: str, **metadata: Any) -> None:
    instance.report_runless_asset_event(
        dg.AssetMaterialization(asset, partition=KEY, metadata=metadata)
    )


def validate(cli: CommandLine, instance: dg.DagsterInstance, *, num_images: int = 2) -> None:
    """Do what `build_dataset_job` does."""
    manifest = dataset_manifest(num_images=num_images)
    publish(cli.store, manifest)
    with transaction(cli.engine) as session:
        record_dataset(session, manifest)
    materialize(instance, "dataset")
    materialize(instance, "captions", captions=2)


def alive_run(instance: dg.DagsterInstance, job_name: str, partition_key: str = KEY) -> str:
    run = instance.create_run_for_job(
        dg.GraphDefinition(name=job_name, node_defs=[]).to_job(),
        tags={"dagster/partition": partition_key},
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=job_origin(job_name),
    )
    return run.run_id


def status(cli: CommandLine) -> dict[str, tuple[str, str]]:
    """State and text of every stage."""
    answer = cli("dataset", "status", "bella", "--tenant", "demo", "--json")
    assert answer.exit_code == 0, answer.text
    return {item["stage"]: (item["state"], item["text"]) for item in json.loads(answer.out)}


def test_a_dataset_without_photos_waits_for_them(demo: CommandLine) -> None:
    found = status(demo)
    assert found["uploads"][0] == "waiting"
    assert "dataset upload" in found["uploads"][1]


def test_a_dataset_is_shown_stage_by_stage(demo: CommandLine, instance: dg.DagsterInstance) -> None:
    demo.store.put_latest(f"{UPLOADS}a.jpg", b"image")
    assert [state for state, _ in status(demo).values()] == ["done", *["waiting"] * 3]
    validate(demo, instance)
    found = status(demo)
    assert [state for state, _ in found.values()] == [*["done"] * 3, "waiting"]
    assert found["dataset"][1] == "2 images accepted, 0 uploads rejected"
    assert found["captions"][1] == "2 captions"
    lora = lora_manifest(dataset_version=dataset_manifest().version)
    with transaction(demo.engine) as session:
        record_lora(session, lora)
    assert status(demo)["training"] == ("done", "LoRA lora1 is ready, 0.0 MiB")


def test_a_complete_upload_gets_its_run_at_once(
    demo: CommandLine, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    answer = json.loads(demo("dataset", "upload", tmp_path, *OF_BELLA, "--json").out)
    [run] = instance.get_runs()
    assert answer["run_id"] == run.run_id
    assert (run.job_name, run.tags["dagster/partition"]) == ("build_dataset_job", KEY)
    assert run.tags[UPLOADS_TAG] == uploads_fingerprint(demo.store.list(UPLOADS))


def test_an_upload_that_changed_nothing_gets_no_run(
    demo: CommandLine, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    demo.store.put_latest(f"{UPLOADS}a.jpg", b"a photo")
    answer = json.loads(demo("dataset", "upload", tmp_path, *OF_BELLA, "--json").out)
    assert answer["run_id"] is None
    assert not instance.get_runs()


@pytest.mark.parametrize(
    "num_others", [pytest.param(0, id="its own run"), pytest.param(12, id="many of others")]
)
def test_an_upload_waits_for_the_sensor_while_datasets_are_built(
    demo: CommandLine, instance: dg.DagsterInstance, tmp_path: Path, num_others: int
) -> None:
    partitions = [f"other/d{number}" for number in range(num_others)] or [KEY]
    for partition in partitions:
        alive_run(instance, "build_dataset_job", partition)
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    answer = json.loads(demo("dataset", "upload", tmp_path, *OF_BELLA, "--json").out)
    assert answer["run_id"] is None
    assert len(instance.get_runs()) == len(partitions)


def test_an_upload_needs_no_dagster(demo: CommandLine, tmp_path: Path) -> None:
    demo.environment.setenv("DAGSTER_URL", f"http://127.0.0.1:{free_port()}")
    (tmp_path / "a.jpg").write_bytes(b"a photo")
    answer = demo("dataset", "upload", tmp_path, *OF_BELLA)
    assert answer.exit_code == 0
    assert "no run was started yet" in answer
    assert [item.key for item in demo.store.list(UPLOADS)] == [f"{UPLOADS}a.jpg"]


def test_uploads_that_are_not_quiet_yet_are_told_with_their_time(demo: CommandLine) -> None:
    demo.environment.setenv("DATASET_SETTLE_SECONDS", "600")
    demo.store.put_latest(f"{UPLOADS}a.jpg", b"image")
    state, text = status(demo)["uploads"]
    assert state == "running"
    assert "of 600 s" in text


def test_an_upload_of_a_time_in_the_future_is_not_waited_for(
    demo: CommandLine, s3_server: S3Server, instance: dg.DagsterInstance
) -> None:
    folder = s3_server.root_dir / demo.store.bucket / UPLOADS
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"image")
    os.utime(folder / "a.jpg", (1_924_905_600, 1_924_905_600))  # 2030
    assert status(demo)["uploads"][0] == "done"
    validate(demo, instance)
    assert status(demo)["dataset"][0] == "done"


def test_a_check_that_did_not_pass_is_told_as_what_holds_a_dataset(
    demo: CommandLine, instance: dg.DagsterInstance
) -> None:
    demo.store.put_latest(f"{UPLOADS}a.jpg", b"image")
    validate(demo, instance, num_images=0)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=dg.AssetKey("dataset"),
            check_name="dataset_has_images",
            passed=False,
            description="all 3 uploads were rejected",
            partition=KEY,
        )
    )
    state, text = status(demo)["dataset"]
    assert state == "failed"
    assert "dataset_has_images: all 3 uploads were rejected" in text


def test_a_training_in_the_queue_is_told_with_its_run(
    demo: CommandLine, instance: dg.DagsterInstance
) -> None:
    demo.store.put_latest(f"{UPLOADS}a.jpg", b"image")
    validate(demo, instance)
    run_id = alive_run(instance, "train_lora_job")
    answer = demo("dataset", "status", "bella", "--tenant", "demo")
    assert "its run waits in the queue" in answer
    assert run_id in answer


def test_an_unknown_dataset_is_told_the_same_way_everywhere(demo: CommandLine) -> None:
    for command in (
        "dataset status bellla --tenant demo",
        "dataset show bellla --tenant demo",
        "lora list --dataset bellla --tenant demo",
        "lora train bellla --tenant demo",
        "generate --lora bellla --prompt x --tenant demo",
    ):
        answer = demo(*command.split())
        assert answer.exit_code == 1
        assert (
            "error: tenant 'demo' has no dataset 'bellla'. Did you mean 'bella'? The datasets are "
            "bella"
        ) in answer


def test_datasets_are_listed_also_those_that_are_only_uploaded(
    demo: CommandLine, instance: dg.DagsterInstance
) -> None:
    validate(demo, instance)
    demo.store.put_latest("datasets/demo/nova/images/a.jpg", b"image")
    found = json.loads(demo("dataset", "list", "--tenant", "demo", "--json").out)
    assert [(item["dataset"], item["num_images"]) for item in found] == [
        ("bella", 2),
        ("nova", None),
    ]
    shown = json.loads(demo("dataset", "show", "bella", "--tenant", "demo", "--json").out)
    assert shown["rejected"] == []


def test_loras_are_listed_and_shown_with_their_training(demo: CommandLine) -> None:
    manifest = lora_manifest()
    publish(demo.store, manifest)
    with transaction(demo.engine) as session:
        record_lora(session, manifest)
    assert "lora1\tbella\tsd15" in demo("lora", "list", "--tenant", "demo").text
    shown = json.loads(demo("lora", "show", "lora1", "--tenant", "demo", "--json").out)
    assert (shown["steps"], shown["config"]["network_dim"]) == (10, 64)
    unknown = demo("lora", "show", "lora2", "--tenant", "demo")
    assert "has no LoRA 'lora2'. Did you mean 'lora1'?" in unknown


def test_a_training_is_launched_with_its_overrides_and_never_twice(
    demo: CommandLine, instance: dg.DagsterInstance
) -> None:
    validate(demo, instance)
    command = ("lora", "train", "bella", "--tenant", "demo", "--overrides")
    answer = demo(*command, '{"max_train_steps": 50}', "--retrain")
    assert answer.exit_code == 0
    (run,) = instance.get_runs()
    assert f"/runs/{run.run_id}" in answer
    config: Any = run.run_config
    assert config["ops"]["train_lora"]["config"] == {
        "overrides": {"max_train_steps": 50},
        "retrain": True,
    }
    again = demo(*command, "{}")
    assert again.exit_code == 1
    assert f"a training of demo/bella runs already (run {run.run_id}" in again


@pytest.mark.parametrize(
    ("options", "says"),
    [
        pytest.param(("--config", "sd15-fase"), "Did you mean 'sd15-face'?", id="config"),
        pytest.param(
            ("--overrides", '{"max_train_stepz": 5}'), "Did you mean 'max_train_steps'?", id="field"
        ),
        pytest.param((), "has no validated images", id="not validated"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_its_run(
    demo: CommandLine, instance: dg.DagsterInstance, options: tuple[str, ...], says: str
) -> None:
    answer = demo("lora", "train", "bella", "--tenant", "demo", *options)
    assert answer.exit_code == 1
    assert says in answer
    assert instance.get_runs() == []


@pytest.fixture
def full(demo: CommandLine, instance: dg.DagsterInstance) -> CommandLine:
    """Tenant demo with a dataset, a LoRA, a completed job and partitions; other has an object."""
    validate(demo, instance)
    with transaction(demo.engine) as session:
        record_lora(session, lora_manifest())
    submit_one(demo.engine)
    complete_job(demo.engine, claim_one(demo.engine))
    for key in (f"{UPLOADS}a.jpg", "loras/demo/lora1.safetensors", "images/demo/x/output.png"):
        demo.store.put_latest(key, b"12345")
    demo.store.put_latest("images/other/x/output.png", b"12345")
    instance.add_dynamic_partitions("content_days", ["demo/2026-11-23", "other/2026-11-23"])
    return demo


def test_a_tenant_is_removed_with_all_that_it_has_and_no_other(
    full: CommandLine, instance: dg.DagsterInstance
) -> None:
    command = ("tenant", "remove", "demo")
    asked = full(*command, stdin="n\n")
    assert asked.exit_code == 1
    assert "1 of jobs" in asked
    assert "1 of images/demo/" in asked
    planned = json.loads(full(*command, "--dry-run", "--json").out)
    assert planned["partitions"] == {"datasets": 1, "content_days": 1}
    assert len(list(full.store.list("images/demo/"))) == 1

    answer = full(*command, "--yes")

    assert answer.exit_code == 0
    with transaction(full.engine) as session:
        assert [tenant.id for tenant in list_tenants(session)] == ["other"]
        assert job_queue.count_by_status(session, "demo")[JobStatus.COMPLETED] == 0
    assert [item.key for item in full.store.list("")] == ["images/other/x/output.png"]
    assert list(instance.get_dynamic_partitions("datasets")) == []
    assert list(instance.get_dynamic_partitions("content_days")) == ["other/2026-11-23"]
    assert "'demo' is unknown" in full(*command, "--yes")


def test_a_removal_that_was_stopped_goes_on(full: CommandLine) -> None:
    assert full("tenant", "remove", "demo", "--yes").exit_code == 0
    full.store.put_latest("loras/demo/left.safetensors", b"1")
    assert full("tenant", "remove", "demo", "--yes").exit_code == 0
    assert list(full.store.list("loras/")) == []


def test_a_tenant_on_legal_hold_is_not_removed(full: CommandLine) -> None:
    with transaction(full.engine) as session:
        legal_holds.set_tenant_hold(session, "demo", is_on_hold=True)
    answer = full("tenant", "remove", "demo", "--yes")
    assert answer.exit_code == 1
    assert "a legal hold keeps all that it has" in answer
    assert len(list(full.store.list("images/demo/"))) == 1


def test_a_tenant_with_open_jobs_is_not_removed(full: CommandLine) -> None:
    submit_one(full.engine)
    answer = full("tenant", "remove", "demo", "--yes")
    assert answer.exit_code == 1
    assert "1 of its jobs have not ended" in answer


def test_a_tenant_with_a_live_run_is_not_removed(
    full: CommandLine, instance: dg.DagsterInstance
) -> None:
    run_id = alive_run(instance, "train_lora_job")
    answer = full("tenant", "remove", "demo", "--yes")
    assert answer.exit_code == 1
    assert f"run {run_id} (train_lora_job of demo/bella) is alive" in answer
