"""`influencerai doctor`: what it says of a system that is well, and of one where all is wrong."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from influencerai_dagster.backup.database.backups import BackupKind
from influencerai_dagster.core.lora_training import PRESETS
from influencerai_dagster.dagster_client.client import DagsterGraphQL
from influencerai_dagster.db import migrate
from influencerai_dagster.local.postgres import programs_dir
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.command_line import Answer, CommandLine
from influencerai_dagster_tests.testing.dagster_server import running_webserver
from influencerai_dagster_tests.testing.database_server import DatabaseServer, execute
from influencerai_dagster_tests.testing.paths import SIMULATED_KOHYA_DIR
from influencerai_dagster_tests.testing.ports import free_port

PARTS = 15


@pytest.fixture(scope="module")
def comfyui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    simulator = ComfyUISimulator(tmp_path_factory.mktemp("comfyui"), {})
    yield simulator
    simulator.stop()


@pytest.fixture(scope="module")
def dagster_url() -> Iterator[str]:
    with dg.instance_for_test() as instance, running_webserver(instance) as url:
        yield url


def rows(answer: Answer) -> dict[str, tuple[str, str]]:
    """What is said of every part: ok or wrong, and the text."""
    cells = [line.split("\t") for line in answer.text.splitlines() if line.count("\t") == 2]
    return {part: (state, text) for part, state, text in cells[1:]}


def test_a_system_that_is_well_has_every_part_ok(
    cli: CommandLine,
    comfyui: ComfyUISimulator,
    dagster_url: str,
    database_server: DatabaseServer,
    tmp_path: Path,
) -> None:
    database_server.barman.backup(BackupKind.FULL)
    preset = PRESETS["sd15-face"]
    base_model = tmp_path / "checkpoints" / preset.base_model
    write_simulated_base_model(base_model, preset.base_model_family)
    for name, value in {
        "BACKUP_DATABASE_URL": database_server.postgres.url(),
        "BACKUP_HOME": database_server.barman.home,
        "BACKUP_POSTGRES_BIN_DIR": programs_dir(),
        "COMFYUI_URL": comfyui.url,
        "COMFYUI_LORA_DIR": comfyui.models_dir / "loras",
        "KOHYA_DIR": SIMULATED_KOHYA_DIR,
        "KOHYA_MODELS_DIR": tmp_path,
        "DAGSTER_URL": dagster_url,
    }.items():
        cli.environment.setenv(name, str(value))

    answer = cli("doctor")

    found = rows(answer)
    assert {part: state for part, (state, _) in found.items() if state != "ok"} == {}
    assert len(found) == PARTS
    assert answer.exit_code == 0
    assert found["PostgreSQL: catalog"][1].endswith(f"migration {migrate.head_revision()}")
    assert "write, read, presigned link and delete work" in found["S3"][1]
    assert found["Dagster's runs"][1].startswith("0 of the newest runs")
    assert list(cli.store.list("")) == []
    assert list((comfyui.models_dir / "loras").iterdir()) == []


def test_a_system_where_nothing_is_set_up_says_of_every_part_what_to_do(cli: CommandLine) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    for name, value in {
        "BACKUP_POSTGRES_BIN_DIR": "/nowhere",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "DAGSTER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "S3_BUCKET": "no-such-bucket",
        "COMFYUI_URL": nowhere,
        "DAGSTER_URL": nowhere,
    }.items():
        cli.environment.setenv(name, value)

    answer = cli("doctor")

    assert answer.exit_code == 1
    found = rows(answer)
    assert len(found) == PARTS
    assert {part for part, (state, _) in found.items() if state == "ok"} == {"ffmpeg", "disk"}
    says = {
        "PostgreSQL: catalog": "Connection refused",
        "PostgreSQL: Dagster": "Connection refused",
        "S3": "no-such-bucket",
        "clock": "no-such-bucket",
        f"ComfyUI {nowhere}": nowhere.removeprefix("http://"),
        "ComfyUI's LoRA folder": "COMFYUI_LORA_DIR is not set: name ComfyUI's models/loras folder",
        "kohya sd-scripts": "KOHYA_DIR is not set: name a checkout of kohya-ss/sd-scripts",
        "models for training": "KOHYA_MODELS_DIR= is not a folder",
        "backup programs": "pg_basebackup was not found",
        "backups": "Connection refused",
        "Dagster": "`make up` starts the local stack",
        "Dagster's runs": "`make up` starts the local stack",
    }
    assert {part: words for part, words in says.items() if words not in found[part][1]} == {}


def test_a_system_that_is_set_up_badly_says_of_every_part_what_to_do(
    cli: CommandLine, empty_database_url: str, dagster_url: str, tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    for name, value in {
        "DATABASE_URL": empty_database_url,
        "S3_SECRET": "not the secret",
        "COMFYUI_URL": dagster_url,
        "COMFYUI_LORA_DIR": str(tmp_path / "a file"),
        "KOHYA_DIR": str(tmp_path),
        "DAGSTER_URL": f"{dagster_url}/server_info",
    }.items():
        cli.environment.setenv(name, value)

    answer = cli("doctor")

    assert answer.exit_code == 1
    found = rows(answer)
    says = {
        "PostgreSQL: catalog": "run `influencerai migrate`",
        "S3": "S3_SECRET",
        "ComfyUI's LoRA folder": "a file cannot be written to: Not a directory",
        "kohya sd-scripts": "has no train_network.py: set KOHYA_DIR",
        "Dagster": "does not answer",
    }
    assert {part: words for part, words in says.items() if words not in found[part][1]} == {}
    assert found[f"ComfyUI {dagster_url}"][0] == "wrong"


@pytest.mark.parametrize(
    "wrong",
    [
        ({"BACKUP_POSTGRES_BIN_DIR": "/nowhere"}, "backup programs", "pg_basebackup was not found"),
        ({"BACKUP_HOME": "empty"}, "backups", "there is no full backup"),
        ({"BACKUP_DATABASE_URL": "other"}, "backups", "the replication slot does not exist"),
        ({"BACKUP_DATABASE_MODE": "pg_dump"}, "backups", "there is no dump backup"),
    ],
    ids=["no program", "no backup", "no receiver", "no dump"],
)
def test_what_is_wrong_with_backups_is_said(
    cli: CommandLine,
    database_server: DatabaseServer,
    postgres_url: str,
    wrong: tuple[dict[str, str], str, str],
) -> None:
    change, part, words = wrong
    values = {
        "BACKUP_DATABASE_URL": database_server.postgres.url(),
        "BACKUP_HOME": str(database_server.barman.home),
        "BACKUP_POSTGRES_BIN_DIR": str(programs_dir()),
        "COMFYUI_URL": "http://127.0.0.1:1",
        "DAGSTER_URL": "http://127.0.0.1:1",
        **{name: postgres_url if value == "other" else value for name, value in change.items()},
    }
    for name, value in values.items():
        cli.environment.setenv(name, value)
    assert words in rows(cli("doctor"))[part][1]


def test_tablespaces_are_named_before_a_restore_refuses_them(
    cli: CommandLine, database_server: DatabaseServer
) -> None:
    for name, value in {
        "BACKUP_DATABASE_URL": database_server.postgres.url(),
        "BACKUP_HOME": database_server.barman.home,
        "BACKUP_POSTGRES_BIN_DIR": programs_dir(),
        "COMFYUI_URL": "http://127.0.0.1:1",
        "DAGSTER_URL": "http://127.0.0.1:1",
    }.items():
        cli.environment.setenv(name, str(value))
    url = f"{database_server.postgres.url()}?options=-callow_in_place_tablespaces%3Don"
    execute(url, "CREATE TABLESPACE fast LOCATION ''")
    try:
        answer = cli("doctor")
    finally:
        execute(url, "DROP TABLESPACE fast")
    assert "the server has tablespaces (fast)" in rows(answer)["backups"][1]


def test_models_that_are_not_there_are_named(cli: CommandLine, tmp_path: Path) -> None:
    cli.environment.setenv("KOHYA_DIR", str(SIMULATED_KOHYA_DIR))
    cli.environment.setenv("KOHYA_MODELS_DIR", str(tmp_path / "nothing"))
    assert f"KOHYA_MODELS_DIR={tmp_path}/nothing is not a folder" in cli("doctor")


def test_runs_that_are_lost_before_they_begin_are_told(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch, dagster_url: str
) -> None:
    cli.environment.setenv("DAGSTER_URL", dagster_url)
    monkeypatch.setattr(DagsterGraphQL, "lost_runs", lambda *_, **__: ["run-3", "run-2", "run-1"])
    state, text = rows(cli("doctor"))["Dagster's runs"]
    assert state == "wrong"
    assert "the newest 3 runs failed before they began, the last is run-3" in text
    assert "code-server.log" in text
