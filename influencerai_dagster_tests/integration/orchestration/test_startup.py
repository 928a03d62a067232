"""The instance of dagster.yaml on a real PostgreSQL, its pools and its orphans."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg2
import pytest
import yaml  # type: ignore[import-untyped] # its stubs are not in the lock file
from dagster_postgres import PostgresEventLogStorage

from influencerai_dagster.cli import dagster_group
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.postgres import PostgresServer
from influencerai_dagster.orchestration.dagster_process import set_pool_limits
from influencerai_dagster.orchestration.dagster_storage import PooledPostgresStorage
from influencerai_dagster.orchestration.pools import pool_limits
from influencerai_dagster.orchestration.startup import apply_pool_limits, fail_orphaned_runs
from influencerai_dagster.settings import settings_from
from influencerai_dagster_tests.testing.paths import PROJECT_DIR

LIMITS = {"image_generation": 3, "video_generation": 2, "lora_training": 1}


@pytest.fixture(scope="module")
def dagster_home(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    connection = psycopg2.connect(postgres_server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE instance_of_dagster_yaml")
    connection.close()
    home = tmp_path_factory.mktemp("dagster_home")
    (home / "dagster.yaml").write_bytes((PROJECT_DIR / "dagster.yaml").read_bytes())
    return home


@pytest.fixture(autouse=True)
def environment(
    postgres_server: PostgresServer, dagster_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres_server.url("instance_of_dagster_yaml")
    monkeypatch.setenv("DAGSTER_DATABASE_URL", url)
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))


@pytest.fixture(scope="module")
def instance(postgres_server: PostgresServer, dagster_home: Path) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patch:
        url = postgres_server.url("instance_of_dagster_yaml")
        patch.setenv("DAGSTER_DATABASE_URL", url)
        patch.setenv("DAGSTER_HOME", str(dagster_home))
        with dg.DagsterInstance.get() as instance:
            yield instance


def test_limits_are_kept_in_the_storage(instance: dg.DagsterInstance) -> None:
    apply_pool_limits(instance, LIMITS)
    kept = {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}
    assert kept == LIMITS


def test_a_limit_can_be_raised_and_lowered(instance: dg.DagsterInstance) -> None:
    for limit in (5, 2):
        apply_pool_limits(instance, {"image_generation": limit})
        info = instance.event_log_storage.get_concurrency_info("image_generation")
        assert info.slot_count == limit


SET = {"QUEUE_CONCURRENCY_VIDEO_GEN": "7"}


def limits_of(instance: dg.DagsterInstance) -> dict[str, int]:
    return {limit.name: limit.limit for limit in instance.event_log_storage.get_pool_limits()}


@pytest.mark.parametrize(
    ("variables", "limits"),
    [
        ({}, LIMITS),
        (SET, LIMITS | {"video_generation": 7}),
        ({"GPU_SHARED": "true"}, {"gpu": 1}),
    ],
    ids=["defaults", "a limit", "a shared GPU"],
)
def test_the_settings_say_the_limits(variables: dict[str, str], limits: dict[str, int]) -> None:
    assert pool_limits(settings_from(variables)) == limits


def test_the_command_sets_the_limits_of_the_settings(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dagster_group, "settings", lambda: settings_from(SET))
    dagster_group.prepare()
    assert limits_of(instance)["video_generation"] == 7


def test_without_dagster_home_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    with pytest.raises(PermanentError, match="DAGSTER_HOME is not set"):
        dagster_group.prepare()


def test_the_daemon_starts_with_the_limits_of_the_settings(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_CONCURRENCY_VIDEO_GEN", "6")
    set_pool_limits()
    assert limits_of(instance)["video_generation"] == 6


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("NOT_STARTED", "NOT_STARTED"),
        ("STARTING", "FAILURE"),
        ("STARTED", "FAILURE"),
        ("CANCELING", "FAILURE"),
        ("SUCCESS", "SUCCESS"),
    ],
)
def test_a_run_that_should_have_a_process_is_failed_at_a_start(
    instance: dg.DagsterInstance, status: str, expected: str
) -> None:
    run_id = str(uuid4())
    instance.add_run(
        dg.DagsterRun(job_name="job", run_id=run_id, status=dg.DagsterRunStatus[status])
    )
    fail_orphaned_runs(instance)
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status.value == expected


def test_a_failed_orphan_gives_its_pool_slot_back(instance: dg.DagsterInstance) -> None:
    run_id, storage = str(uuid4()), instance.event_log_storage
    apply_pool_limits(instance, {"lora_training": 1})
    instance.add_run(
        dg.DagsterRun(job_name="job", run_id=run_id, status=dg.DagsterRunStatus.STARTED)
    )
    assert storage.claim_concurrency_slot("lora_training", run_id, "step").is_claimed
    assert fail_orphaned_runs(instance) == 1
    assert storage.get_concurrency_info("lora_training").active_slot_count == 0


def test_a_storage_without_pools_is_named() -> None:
    with (
        dg.DagsterInstance.ephemeral() as in_memory,
        pytest.raises(PermanentError, match="dagster instance migrate"),
    ):
        apply_pool_limits(in_memory, LIMITS)


def test_the_instance_is_what_dagster_yaml_says(instance: dg.DagsterInstance) -> None:
    concurrency = instance.get_concurrency_config()
    assert concurrency.pool_config.default_pool_limit == 1
    assert concurrency.pool_config.pool_granularity is not None
    assert concurrency.pool_config.pool_granularity.value == "op"
    assert concurrency.run_queue_config is not None
    assert concurrency.run_queue_config.max_concurrent_runs == 10
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] == 10
    # A run that hangs while it is cancelled holds its slot for no longer than 45 s.
    assert instance.run_monitoring_cancel_timeout_seconds == 30
    assert instance.run_monitoring_poll_interval_seconds == 5
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure
    assert not instance.telemetry_enabled
    assert type(instance.run_coordinator).__name__ == "FairRunCoordinator"
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert instance.event_log_storage.postgres_url == os.environ["DAGSTER_DATABASE_URL"]


def test_artifacts_and_compute_logs_are_below_dagster_home(
    instance: dg.DagsterInstance, dagster_home: Path
) -> None:
    assert Path(instance.storage_directory()).is_relative_to(dagster_home)
    logs = instance.compute_log_manager.get_log_metadata(["run", "step"]).stdout_location
    assert logs is not None
    assert Path(logs).is_relative_to(dagster_home)


def test_dagster_yaml_has_what_a_running_instance_does_not_show() -> None:
    config: dict[str, Any] = yaml.safe_load((PROJECT_DIR / "dagster.yaml").read_text())
    storage = config["storage"]["custom"]
    assert storage["class"] == PooledPostgresStorage.__name__
    assert storage["module"] == PooledPostgresStorage.__module__
    assert storage["config"] == {"postgres_url": {"env": "DAGSTER_DATABASE_URL"}}
    assert config["run_coordinator"]["config"]["dequeue_interval_seconds"] == 1
    assert config["sensors"]["use_threads"] is True
    assert config["retention"]["sensor"]["purge_after_days"]["skipped"] == 1


def test_the_workspace_names_the_code_server_by_variables() -> None:
    config = yaml.safe_load((PROJECT_DIR / "workspace.yaml").read_text())
    assert config == {
        "load_from": [
            {
                "grpc_server": {
                    "host": {"env": "DAGSTER_CODE_SERVER_HOST"},
                    "port": {"env": "DAGSTER_CODE_SERVER_PORT"},
                    "location_name": "influencerai",
                }
            }
        ]
    }
