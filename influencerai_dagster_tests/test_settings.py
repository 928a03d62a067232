"""The environment: every variable is parsed once, and a bad one is named."""

from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings import Settings, load_settings, parse_duration, parse_size


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


def problem(monkeypatch: pytest.MonkeyPatch, **variables: str) -> str:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PermanentError, match="settings that cannot be used") as caught:
        load_settings()
    return str(caught.value)


def test_settings_load_with_no_variable_set() -> None:
    settings = load_settings()
    assert settings.max_upload_size == 100_000_000
    assert settings.max_dataset_images == 5000
    assert settings.jwt_expires_in == timedelta(days=7)
    assert settings.comfyui_timeout_seconds == 300


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_UPLOAD_SIZE", "")
    assert load_settings() == load_settings(max_upload_size=100_000_000)


def test_the_environment_wins_over_the_file_env(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=4001\nS3_BUCKET=from-file\nNOT_OURS=1\n", encoding="utf-8")
    monkeypatch.setenv("S3_BUCKET", "from-environment")
    settings = load_settings()
    assert (settings.port, settings.s3_bucket) == (4001, "from-environment")


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
    assert load_settings().openrouter_cache_ttl == timedelta(hours=24)
    monkeypatch.setenv("OPENROUTER_CACHE_TTL", value)
    assert load_settings().openrouter_cache_ttl == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("OPENROUTER_CACHE_TTL", "24"), ("JWT_EXPIRES_IN", "0")),
        *(("MAX_UPLOAD_SIZE", "big"), ("MAX_UPLOAD_SIZE", "0"), ("MAX_UPLOAD_SIZE", "-1MB")),
        *(("MAX_UPLOAD_SIZE", "1e3"), ("MAX_UPLOAD_SIZE", "10\u212aB"), ("PORT", "0")),
        *(("PORT", "65536"), ("COMFYUI_TIMEOUT", "5s"), ("COMFYUI_TIMEOUT", "0")),
        *(("JWT_EXPIRES_IN", "7"), ("JWT_EXPIRES_IN", "0d"), ("JWT_EXPIRES_IN", "1000000d")),
        *(("JWT_EXPIRES_IN", "9999999999d"), ("COMFYUI_URL", "localhost:8188")),
        *(("COMFYUI_URL", ","), ("COMFYUI_URL", "http://a ftp://b"), ("COMFYUI_URL", "http://")),
        *(("GENERATION_LINGER_SECONDS", "inf"), ("MONTHLY_OPENROUTER_BUDGET", "nan")),
        *(("MONTHLY_OPENROUTER_BUDGET", "-1"), ("AUTO_CAPTIONER", "gpt"), ("LOG_LEVEL", "loud")),
        *(("DATASET_RIGHTS", "ignore"), ("MAX_DATASET_IMAGES", "0"), ("ENABLE_CACHING", "maybe")),
        *(("DATABASE_URL", "mysql://h/db"), ("DATABASE_URL", "postgres://h/db")),
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
    text = problem(monkeypatch, PORT="x", MAX_UPLOAD_SIZE="x", LOG_LEVEL="x")
    assert len(text.splitlines()) == 4


def test_a_bad_value_shows_no_secret_and_not_all_of_a_long_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = problem(
        monkeypatch,
        DATABASE_URL="mysql://user:hunter2@host/db",
        DAGSTER_DATABASE_URL="postgresql://user:hunter2@host:99999/db",
        PORT="9" * 5000,
    )
    assert "hunter2" not in text
    assert len(text) < 2000


def test_secrets_are_not_shown_by_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("S3_SECRET", "JWT_SECRET", "OPENROUTER_API_KEY"):
        monkeypatch.setenv(name, "hunter2")
    settings = load_settings()
    assert "hunter2" not in repr(settings)
    assert settings.s3_secret.get_secret_value() == "hunter2"


def test_several_comfyui_servers_are_one_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFYUI_URL", " http://gpu1:8188/, https://gpu2/comfy/ ,")
    assert load_settings().comfyui_url == ("http://gpu1:8188", "https://gpu2/comfy")


def test_a_setting_cannot_be_changed_after_the_start() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().__setattr__("port", 1)
