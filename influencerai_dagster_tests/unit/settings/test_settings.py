"""The environment: every variable is parsed once, and a bad one is named."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import (
    VARIABLES,
    Settings,
    as_variables,
    load_settings,
    parse_duration,
    parse_size,
)
from influencerai_dagster.settings.loading import PLANNED, RENAMED, _note


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def problem(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PermanentError, match="settings that cannot be used") as caught:
        load_settings()
    return str(caught.value)


def test_settings_load_with_no_variable_set() -> None:
    settings = load_settings()
    assert settings.datasets.max_upload_size_bytes == 100_000_000
    assert settings.datasets.max_images == 5000
    assert settings.comfyui.timeout_seconds == 300


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_UPLOAD_SIZE", "")
    assert load_settings() == load_settings(max_upload_size=100_000_000)


def test_the_environment_wins_over_the_file_env(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "LOCAL_S3_PORT=4001\nS3_BUCKET=from-file\nNOT_OURS=1\n", encoding="utf-8"
    )
    monkeypatch.setenv("S3_BUCKET", "from-environment")
    settings = load_settings()
    assert (settings.local.s3_port, settings.s3.bucket) == (4001, "from-environment")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        *(("100MB", 100_000_000), ("100 mb", 100_000_000), ("1MiB", 2**20), ("2gib", 2**31)),
        *(("512", 512), ("512B", 512), ("1.5KB", 1500), ("1.001KB", 1001), (" 1TB ", 10**12)),
    ],
)
def test_a_size_is_read_in_its_unit(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@given(
    st.decimals(0, 10**6, places=3, allow_nan=False),
    st.sampled_from(["", "B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]),
)
def test_a_size_is_exact_for_every_number_and_unit(number: Decimal, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    power = " KMGT".index(unit[0]) if unit not in {"", "B"} else 0
    assert parse_size(f"{number}{unit}") == int(number * base**power)
    assert parse_size(f"{number} {unit.lower()}") == int(number * base**power)


@given(st.integers(0, 999_999), st.sampled_from("smhd"))
def test_a_duration_is_exact_for_every_number_and_unit(number: int, unit: str) -> None:
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]
    assert parse_duration(f"{number}{unit}") == timedelta(seconds=number * seconds)


@given(st.text())
def test_any_text_is_a_value_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_duration):
        with suppress(ValueError):
            parse(text)


@pytest.mark.parametrize(("value", "hours"), [("0", 0), ("0s", 0), ("36h", 36)])
def test_the_cache_of_answers_can_be_switched_off(
    monkeypatch: pytest.MonkeyPatch, value: str, hours: int
) -> None:
    assert load_settings().openrouter.cache_ttl == timedelta(hours=24)
    monkeypatch.setenv("OPENROUTER_CACHE_TTL", value)
    assert load_settings().openrouter.cache_ttl == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OPENROUTER_CACHE_TTL", "24"), ("RETENTION_DAYS", "0")),
        *(("MAX_UPLOAD_SIZE", "big"), ("MAX_UPLOAD_SIZE", "0"), ("MAX_UPLOAD_SIZE", "-1MB")),
        *(("MAX_UPLOAD_SIZE", "1e3"), ("MAX_UPLOAD_SIZE", "10\u212aB"), ("LOCAL_S3_PORT", "0")),
        *(("LOCAL_S3_PORT", "65536"), ("COMFYUI_TIMEOUT", "5s"), ("COMFYUI_TIMEOUT", "0")),
        *(("OPENROUTER_CACHE_TTL", "7"), ("OPENROUTER_CACHE_TTL", "1000000d")),
        *(("OPENROUTER_CACHE_TTL", "9999999999d"), ("COMFYUI_URL", "localhost:8188")),
        *(("COMFYUI_URL", ","), ("COMFYUI_URL", "http://a ftp://b"), ("COMFYUI_URL", "http://")),
        *(("GENERATION_IDLE_TIMEOUT_SECONDS", "inf"), ("GENERATION_TIME_SLICE_SECONDS", "nan")),
        *(("GENERATION_TIME_SLICE_SECONDS", "-1"), ("AUTO_CAPTIONER", "gpt")),
        *(("DATASET_RIGHTS", "ignore"), ("MAX_DATASET_IMAGES", "0"), ("ENABLE_CACHING", "maybe")),
        *(("DATABASE_URL", "mysql://h/db"), ("DATABASE_URL", "postgresql://h/db?pgbouncer=true")),
        *(("DATABASE_URL", "postgresql+asyncpg://h/db"), ("S3_PRESIGN_SECONDS", "604801")),
    ],
)
def test_a_bad_value_fails_at_start_and_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    text = problem(monkeypatch, **{name: value})
    assert f"\n  {name}=" in text
    assert name.endswith("DATABASE_URL") or value[:10] in text


def test_every_bad_value_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text = problem(monkeypatch, LOCAL_S3_PORT="x", MAX_UPLOAD_SIZE="x", AUTO_CAPTIONER="x")
    assert len(text.splitlines()) == 4


def test_a_bad_value_shows_no_secret_and_not_all_of_a_long_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hidden = {
        "S3_SECRET": "hunter2…",
        "BACKUP_ENCRYPTION_KEY": "'hunter2'",
        "OPENROUTER_API_KEY": " hunter2",
    }
    text = problem(
        monkeypatch,
        DATABASE_URL="mysql://user:hunter2@host/db",
        DAGSTER_DATABASE_URL="postgresql://user:hunter2@host:99999/db",
        COMFYUI_URL="ftp://user:hunter2@host",
        S3_ENDPOINT="https://host?token=hunter2",
        LOCAL_S3_PORT="9" * 5000,
        **hidden,
    )
    assert "hunter2" not in text
    assert text.count("(hidden)") == 7
    assert len(text) < 2000


def test_secrets_are_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_SECRET", "BACKUP_ENCRYPTION_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert settings.s3.secret.get_secret_value() == "hunter2"


def test_several_comfyui_servers_are_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", " http://gpu1:8188/, https://gpu2/comfy/ ,")
    assert load_settings().comfyui.urls == ("http://gpu1:8188", "https://gpu2/comfy")


def test_a_setting_cannot_be_changed_after_the_start() -> None:
    settings = load_settings()
    for model, name in ((settings, "local"), (settings.local, "s3_port")):
        with pytest.raises(ValueError, match="frozen"):
            model.__setattr__(name, 1)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("OPENROUTER_API_KEY", "sk-or-\N{HORIZONTAL ELLIPSIS}", "U+2026 HORIZONTAL ELLIPSIS"),
        ("OPENROUTER_API_KEY", "sk-or-\u200babc", "U+200B ZERO WIDTH SPACE after 6 characters"),
        ("S3_KEY", "AKIA\N{CYRILLIC CAPITAL LETTER A}", "U+0410"),
        ("S3_SECRET", '"abc"', "Docker keeps the quotes"),
        ("BACKUP_ENCRYPTION_KEY", "'abc'", "Docker keeps the quotes"),
        ("BACKUP_ENCRYPTION_KEY", " abc", "blanks at its start or end"),
        ("BACKUP_ENCRYPTION_KEY", "a\u2060bc", "an invisible character (U+2060"),
        ("BACKUP_ENCRYPTION_KEY", "a\nb", "a control character (U+000A)"),
        ("S3_BUCKET", "s3://assets", "names no bucket"),
        ("S3_BUCKET", "assets/prefix", "names no bucket"),
        ("S3_ENDPOINT", "minio:9000", "is not an address"),
        ("S3_ENDPOINT", "http://${HOST}:9000", "is not an address"),
        ("S3_ENDPOINT", "http://key:secret@minio:9000", "has a user or password"),
        ("OPENROUTER_BASE_URL", "https://host/api/v1?key=x", "has a ?"),
        ("DAGSTER_URL", "http://host:3000/#x", "has a #"),
        ("BACKUP_TARGET", "gs://my-backups", "BACKUP_S3_ENDPOINT"),
        ("BACKUP_TARGET", "https://account.r2.cloudflarestorage.com/b", "BACKUP_S3_ENDPOINT"),
        ("BACKUP_TARGET", "b2:my-backups", "is not a folder of this machine"),
        ("BACKUP_TARGET", '"s3://my-backups"', "has quotes around it"),
        ("BACKUP_TARGET", "s3\N{FULLWIDTH COLON}//my-backups", "is neither a folder"),
        ("BACKUP_TARGET", "s3//my-backups", "write ./s3//my-backups"),
        ("BACKUP_TARGET", "\\\\nas\\backups", "is neither a folder"),
        ("BACKUP_TARGET", '"/mnt/backups', "is neither a folder"),
        ("BACKUP_TARGET", "\N{LEFT-POINTING DOUBLE ANGLE QUOTATION MARK}/mnt", "is neither a"),
        ("BACKUP_TARGET", "%USERPROFILE%/backups", "is neither a folder"),
        ("BACKUP_TARGET", "\N{FULLWIDTH TILDE}/backups", "is neither a folder"),
        ("BACKUP_TARGET", "$HOME/backups", "has $HOME, which is not replaced by its value"),
        ("BACKUP_TARGET", "/mnt/backups\u200b", "an invisible character (U+200B"),
        ("S3_REGION", "\ufeffus-east-1", "an invisible character (U+FEFF"),
        ("BACKUP_TIME_ZONE", "Europe", "is not a time zone"),
        ("BACKUP_TIME_ZONE", "x" * 300, "is not a time zone"),
        ("BACKUP_RECOVERY_WINDOW_DAYS", "99999999999", "less than or equal to 36500"),
        ("DATABASE_URL", "postgresql://u:p%FFss@h/db", "has a % that is not one of UTF-8"),
        ("BACKUP_TARGET", "s3://", "names no bucket"),
        ("BACKUP_TARGET", "s3://minio:9000/bucket", "names no bucket"),
        ("BACKUP_HOME", "$HOME/backups", "has $HOME, which is not replaced by its value"),
        ("BACKUP_HOME", "/srv/${USER}/backups", "has ${USER}, which is not replaced by its value"),
        ("KOHYA_DIR", "$(HOME)/sd-scripts", "has $(HOME), which is not replaced by its value"),
        ("DATA_DIR", "~nobody-of-this-name/data", "home folder of that user is not known"),
        ("DATA_DIR", "C:\\data", "is not a folder of this machine"),
        ("OPENROUTER_CACHE_TTL", "7", "has no unit: write 7s, 7m, 7h or 7d"),
        ("DATABASE_URL", "postgresql://u:pa/ss@h/db", "/ as %2F"),
        ("DATABASE_URL", "postgresql://u:pa@ss@h/db", "@ as %40"),
        ("DATABASE_URL", "postgresql://h", "names no database"),
        ("DAGSTER_DATABASE_URL", "postgres://h/db", "is read by Dagster itself"),
        ("DAGSTER_DATABASE_URL", "postgresql://h1,h2/db", "is read by Dagster itself"),
        ("DAGSTER_DATABASE_URL", "postgresql://h/my%20db", "is read by Dagster itself"),
        ("DAGSTER_DATABASE_URL", "postgresql://h/db\n", "Dagster reads this variable as it is"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str
) -> None:
    text = problem(monkeypatch, **{name: value})
    assert f"\n  {name}=" in text
    assert words in text


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("S3_ENDPOINT", "HTTPS://Minio:9000/\n", "https://Minio:9000"),
        ("S3_ENDPOINT", "http://[::1]:9000", "http://[::1]:9000"),
        ("COMFYUI_URL", "http://host:8188/?token=abc", ("http://host:8188?token=abc",)),
        ("BACKUP_TARGET", "S3://my-backups/a/b/", "s3://my-backups/a/b"),
        ("BACKUP_TARGET", " s3://my-backups\n", "s3://my-backups"),
        ("BACKUP_TARGET", "/mnt/100% of us/ö", "/mnt/100% of us/ö"),
        ("BACKUP_TARGET", "/mnt/\N{MAN}\u200d\N{WOMAN}", "/mnt/\N{MAN}\u200d\N{WOMAN}"),
        ("BACKUP_HOME", "/srv/a$b/c", Path("/srv/a$b/c")),
        ("KOHYA_PYTHON", "python3.10", Path("python3.10")),
        ("KOHYA_PYTHON", "/opt/venv/bin/python", Path("/opt/venv/bin/python")),
        ("LOCAL_S3_PORT", " 3001\n", 3001),
        ("OPENROUTER_CACHE_TTL", "3600", timedelta(hours=1)),
        ("OPENROUTER_CACHE_TTL", "1 day", timedelta(days=1)),
        ("OPENROUTER_CACHE_TTL", "2w", timedelta(days=14)),
        ("DATABASE_URL", "postgres://u:p@h/db\n", "postgresql://u:p@h/db"),
    ],
)
def test_a_value_means_what_its_owner_wrote(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, meant: object
) -> None:
    monkeypatch.setenv(name, value)
    assert load_settings().variables_set()[name] == meant


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("OPENROUTER_API_KEY", "sk-or-v1-abc\n", "sk-or-v1-abc"),
        ("S3_SECRET", "two words\r\n", "two words"),
        ("BACKUP_ENCRYPTION_KEY", "pa${x}ss $HOME 'q' \"ö", "pa${x}ss $HOME 'q' \"ö"),
    ],
)
def test_a_secret_loses_only_the_newline_of_its_file(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, meant: str
) -> None:
    monkeypatch.setenv(name, value)
    assert as_variables(load_settings())[name] == meant


def test_a_folder_is_absolute_wherever_a_process_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("BACKUP_TARGET", "~/off-site")
    monkeypatch.setenv("TRAINING_DIR", "./work")
    settings = load_settings()
    monkeypatch.chdir("/")
    assert settings.backup.target == "/home/me/off-site"
    assert settings.training.dir == tmp_path / "work"
    assert settings.local.data_dir == tmp_path / "data"


def test_a_folder_whose_name_looks_like_a_variable_stays_what_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "$HOME").mkdir()
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "$HOME" / "data"))
    assert load_settings().local.data_dir == tmp_path / "$HOME" / "data"


def test_a_name_in_capitals_wins_over_one_of_another_case(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCAL_S3_PORT", "3002")
    monkeypatch.setenv("local_s3_port", "3003")
    monkeypatch.setenv("backup_target", "/late/in/the/environment")
    Path(".env").write_text(
        "local_s3_port=3004\nLOCAL_S3_PORT=3005\nlocal_s3_port=3006\n", encoding="utf-8"
    )
    settings = load_settings()
    assert (settings.local.s3_port, settings.backup.target) == (3002, "/late/in/the/environment")
    assert "local_s3_port changes nothing: LOCAL_S3_PORT is set too" in caplog.text
    monkeypatch.delenv("LOCAL_S3_PORT")
    monkeypatch.delenv("local_s3_port")
    assert load_settings().local.s3_port == 3005


@pytest.mark.parametrize("folder", ["./b", "../b", ".", "..", "~/b"])
def test_a_backup_target_may_be_a_folder_beside_others(
    monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setenv("BACKUP_TARGET", folder)
    assert load_settings().backup.target == str(Path(folder).expanduser().absolute())


def test_a_port_that_kubernetes_sets_for_a_service_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("DAGSTER_WEBSERVER_PORT", "LOCAL_POSTGRES_PORT", "DAGSTER_CODE_SERVER_PORT"):
        monkeypatch.setenv(name, "tcp://10.0.0.1:80")
    settings = load_settings()
    assert (settings.dagster.webserver_port, settings.local.postgres_port) == (3000, 5433)
    assert settings.variables_set() == {}
    load_settings()
    assert caplog.text.count("enableServiceLinks: false") == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BACKUP_TARGTE", "did you mean BACKUP_TARGET?"),
        ("COMFY_URL", "did you mean COMFYUI_URL?"),
        ("GPU_SHRED", "did you mean GPU_SHARED?"),
        ("S3_PUBLIC_HOST", "S3_PUBLIC_HOST is not a setting"),
    ],
)
def test_a_misspelt_name_in_the_file_env_is_told(
    caplog: pytest.LogCaptureFixture, name: str, words: str
) -> None:
    Path(".env").write_text(f"{name}=x\nMY_OWN=1\nDAGSTER_HOME=/x\n", encoding="utf-8")
    load_settings()
    assert words in caplog.text
    assert "MY_OWN" not in caplog.text
    assert "DAGSTER_HOME" not in caplog.text


def test_settings_survive_the_way_through_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_settings(
        backup_home="b",
        openrouter_cache_ttl="2 days",
        comfyui_url="http://a,http://b/c",
        dagster_webserver_proxies="10.0.0.0/24,::1",
        gpu_shared=True,
        s3_secret=SecretStr("x y"),
        generation_time_slice_seconds=1.5,
        max_upload_size="1MiB",
    )
    for name, value in as_variables(made).items():
        monkeypatch.setenv(name, value)
    assert load_settings() == made


@pytest.mark.parametrize(("old", "new"), sorted(RENAMED.items()))
def test_the_old_name_of_a_setting_works_and_the_new_one_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, old: str, new: str
) -> None:
    _note.cache_clear()
    monkeypatch.setenv(old, "7")

    assert load_settings().variables_set()[new] == 7
    assert f"{old} is called {new} now" in caplog.text


def test_the_new_name_of_a_setting_wins_over_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = next(iter(RENAMED.items()))
    monkeypatch.setenv(old, "7")
    monkeypatch.setenv(new, "8")

    assert load_settings().variables_set()[new] == 8


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_a_setting_that_nothing_reads_yet_is_neither_an_error_nor_a_typing_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    assert name not in VARIABLES
    monkeypatch.setenv(name, "anything")
    Path(".env").write_text(f"{name}=anything\n", encoding="utf-8")

    assert load_settings() == Settings()
    assert caplog.text == ""
