import stat
from pathlib import Path

import pytest

from influencerai_dagster.core.database_urls import in_database
from influencerai_dagster.local import environment
from influencerai_dagster.local.environment import (
    child_environment,
    load_secrets,
    running_stack_settings,
    stack_environment,
    write_stack_env,
)
from influencerai_dagster.settings import VARIABLES, load_settings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def test_engines_that_no_setting_names_are_simulated() -> None:
    made = stack_environment(load_settings())
    assert made["COMFYUI_URL"] == "http://127.0.0.1:8188"
    assert Path(made["COMFYUI_LORA_DIR"]) == Path("data/models/loras").resolve()
    assert (Path(made["KOHYA_DIR"]) / "train_network.py").exists()
    assert made["OPENROUTER_BASE_URL"] == "http://127.0.0.1:8189/api/v1"
    assert made["KOHYA_EXTRA_VARIABLES"] == "SIMULATOR_*"


def test_real_engines_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", "http://gpu:8188")
    monkeypatch.setenv("KOHYA_DIR", "/opt/sd-scripts")
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-real")
    made = stack_environment(load_settings())
    assert not {name for name in made if name.startswith(("COMFYUI", "KOHYA", "OPENROUTER"))}


def test_a_process_gets_the_whole_environment(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "elsewhere", local_s3_port=9100)
    made = child_environment(settings, {"PATH": "/bin", "NO_PROXY": "intranet"})
    assert made["PATH"] == "/bin"
    assert made["NO_PROXY"] == made["no_proxy"] == "intranet,127.0.0.1,localhost,::1"
    assert made["S3_ENDPOINT"] == "http://127.0.0.1:9100"
    assert made["TRAINING_DIR"] == str(tmp_path / "elsewhere/training")
    assert made["PYTHONUNBUFFERED"] == "1"


def test_two_databases_are_on_the_same_server() -> None:
    made = stack_environment(load_settings(local_postgres_port=5555))
    catalog, dagster = made["DATABASE_URL"], made["DAGSTER_DATABASE_URL"]
    assert in_database(catalog, "dagster") == dagster
    assert "@127.0.0.1:5555/" in catalog


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path: Path) -> None:
    first = load_secrets(tmp_path / "data")
    assert load_secrets(tmp_path / "data") == first
    assert first.postgres_password != first.s3_secret
    (path,) = (tmp_path / "data").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR


def test_other_commands_find_the_stack_while_it_runs() -> None:
    settings = load_settings(local_s3_port=9100, dagster_webserver_port=3100)
    path = write_stack_env(settings)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IRUSR | stat.S_IWUSR
    found = running_stack_settings()
    assert found.s3.endpoint == "http://127.0.0.1:9100"
    assert found.database.url == stack_environment(settings)["DATABASE_URL"]
    assert found.dagster.url == "http://127.0.0.1:3100"
    environment.remove_stack_env(settings)
    assert running_stack_settings() == load_settings()


def test_nothing_else_reads_the_stacks_variables() -> None:
    write_stack_env(load_settings())
    assert load_settings().s3.endpoint is None


def test_the_environment_wins_over_the_stacks_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    write_stack_env(load_settings())
    monkeypatch.setenv("S3_ENDPOINT", "https://s3.example.com")
    assert running_stack_settings().s3.endpoint == "https://s3.example.com"
