"""The one reader of the environment: every variable, parsed and validated once, with its unit.

Nothing else reads a setting from `os.environ`; what other programs get of it is in
program_environment.py. Names are those of the stack this project replaces; `.env.example`
lists them all with their defaults (a test compares). In development a file `.env` in the working
directory is read too.
"""

import os
import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import (
    AliasGenerator,
    AnyUrl,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    UrlConstraints,
    ValidationError,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from influencerai_dagster.errors import PermanentError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KIB|MIB|GIB|TIB)?", re.IGNORECASE | re.ASCII)
_SHOWN_LENGTH = 200
_SIZE_UNITS = {"B": 1}
_SIZE_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
_SIZE_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|h|d)|0", re.ASCII)
# SQLAlchemy knows no postgres://, and psycopg2 is the driver that is installed.
_DATABASE_URL = TypeAdapter(
    Annotated[
        AnyUrl,
        UrlConstraints(host_required=True, allowed_schemes=["postgresql", "postgresql+psycopg2"]),
    ]
)
_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_size(value: Any) -> Any:  # noqa: ANN401 - pydantic hands over whatever it was given
    """Turn "100MB" into bytes (MB is 1000², MiB is 1024²); a plain number is bytes."""
    if not isinstance(value, str):
        return value
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a size; use a number with B, KB, MB, GB, MiB or GiB, like "100MB"')
    return int(Decimal(match[1]) * _SIZE_UNITS[(match[2] or "B").upper()])


def parse_duration(value: Any) -> Any:  # noqa: ANN401 - as above
    """Turn "7d", "12h", "30m", "45s" or "0" into a timedelta."""
    if not isinstance(value, str):
        return value
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise ValueError('is not a duration; use up to 6 digits with s, m, h or d, like "7d"')
    return timedelta(**{_DURATION_UNITS[match[2] or "s"]: int(match[1] or 0)})


def _parse_urls(value: Any) -> Any:  # noqa: ANN401 - as above
    if not isinstance(value, str):
        return value
    urls = tuple(url.strip().rstrip("/") for url in value.split(",") if url.strip())
    if not urls:
        raise ValueError("names no URL")
    for url in urls:
        if not re.fullmatch(r"https?://[^\s/]+(/\S*)?", url):
            raise ValueError(f"{url!r} is not an http:// or https:// URL")
    return urls


def _parse_names(value: Any) -> Any:  # noqa: ANN401 - as above
    if not isinstance(value, str):
        return value
    names = tuple(name.strip() for name in value.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"[A-Za-z_]\w*\*?", name, re.ASCII):
            raise ValueError(f'"{name}" is no name of a variable; use names like "WANDB_MODE,MY_*"')
    return names


def _check_database_url(value: str) -> str:
    _DATABASE_URL.validate_python(value)
    return value


def _check_time_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError):
        raise ValueError('is no time zone; use a name like "Europe/Berlin" or "UTC"') from None
    return value


SizeBytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]
DurationOrZero = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]
Duration = Annotated[DurationOrZero, Field(gt=timedelta(0))]
FiniteFloat = Annotated[float, Field(ge=0, allow_inf_nan=False)]
NameList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_names)]
UrlList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_urls)]
Port = Annotated[int, Field(ge=1, le=65535)]
PositiveInt = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """All settings; a field's environment variable is its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        alias_generator=AliasGenerator(validation_alias=str.upper),
    )

    # PostgreSQL
    database_url: Annotated[str, BeforeValidator(_check_database_url)] = (
        "postgresql://influencerai@127.0.0.1:5432/influencerai"
    )
    dagster_database_url: Annotated[str, BeforeValidator(_check_database_url)] = (
        "postgresql://influencerai@127.0.0.1:5432/dagster"
    )

    # S3
    s3_endpoint: str | None = None
    s3_key: str = ""
    s3_secret: SecretStr = SecretStr("")
    s3_bucket: str = "assets"
    s3_region: str = "us-east-1"
    s3_force_path_style: bool = True
    s3_checksum_mode: Literal["when_required", "when_supported"] = "when_required"
    s3_disk: Path | None = None
    s3_presign_seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 3600

    # Tenant API
    port: Port = 3001
    jwt_secret: SecretStr | None = None
    jwt_expires_in: Duration = timedelta(days=7)
    cors_origin: str = "http://localhost:3000"
    swagger_enabled: bool = True
    enable_rate_limiting: bool = True

    # OpenRouter
    openrouter_api_key: SecretStr | None = None
    openrouter_base_url: str = "https://openrouter.ai/api/v1"
    openrouter_caption_model: str = "google/gemini-2.5-flash"
    monthly_openrouter_budget: FiniteFloat = 150.00
    openrouter_cache_ttl: DurationOrZero = timedelta(hours=24)
    enable_caching: bool = True

    # ComfyUI
    comfyui_url: UrlList = ("http://127.0.0.1:8188",)
    comfyui_timeout: PositiveInt = 300_000
    comfyui_lora_dir: Path | None = None

    # kohya sd-scripts
    kohya_dir: Path | None = None
    kohya_python: Path | None = None
    kohya_models_dir: Path | None = None
    kohya_tokenizer_cache_dir: Path | None = None
    kohya_extra_variables: NameList = ()
    training_dir: Path = Path("data/training")
    default_training_preset: str = "sd15-face"
    gpu_shared: bool = False

    # Datasets and captions
    max_upload_size: SizeBytes = 100 * 1000**2
    max_dataset_images: PositiveInt = 5000
    min_image_side_px: PositiveInt = 256
    dataset_settle_seconds: Annotated[int, Field(ge=0)] = 30
    dataset_rights: Literal["block", "warn"] = "warn"
    enable_auto_captions: bool = False
    auto_captioner: Literal["blip", "wd14", "openrouter"] = "blip"

    # Queues and limits
    queue_concurrency_content_gen: PositiveInt = 3
    queue_concurrency_video_gen: PositiveInt = 2
    queue_concurrency_lora_training: PositiveInt = 1
    generation_linger_seconds: FiniteFloat = 10.0
    generation_slice_seconds: FiniteFloat = 30.0
    max_pending_jobs_per_tenant: PositiveInt = 10_000
    log_level: Literal["debug", "info", "warn", "error"] = "info"

    # Backups
    backup_database_mode: Literal["barman", "pg_dump"] = "barman"
    backup_database_url: Annotated[str, BeforeValidator(_check_database_url)] | None = None
    backup_home: Path = Path("data/backups")
    backup_postgres_bin_dir: Path | None = None
    backup_recovery_window_days: PositiveInt = 30
    backup_time_zone: Annotated[str, BeforeValidator(_check_time_zone)] = "UTC"
    backup_target: str | None = None
    backup_s3_endpoint: str | None = None
    backup_s3_key: str = ""
    backup_s3_secret: SecretStr = SecretStr("")
    backup_s3_region: str = "us-east-1"
    backup_encryption_key: SecretStr | None = None
    backup_bandwidth_limit: str = ""

    # Retention
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 90
    retention_dry_run: bool = True

    # The stack on one machine
    data_dir: Path = Path("data")
    dagster_webserver_port: Port = 3000
    dagster_url: str = "http://127.0.0.1:3000"
    local_postgres_port: Port = 5433
    local_s3_port: Port = 9000
    local_comfyui_port: Port = 8188
    local_openrouter_port: Port = 8189
    local_code_server_port: Port = 4000

    @property
    def comfyui_timeout_seconds(self) -> float:
        """COMFYUI_TIMEOUT, which is in ms, in seconds."""
        return self.comfyui_timeout / 1000


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - pydantic validates them
    """Read the environment (and `.env`); overrides are fields by name.

    Raises:
        PermanentError: some variables have bad values; the text names each, what was found and what
            is allowed.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in item['loc']).upper()}={_shown(item)}: {item['msg']}"
            for item in error.errors()
        ]
        text = "The environment has settings that cannot be used:\n" + "\n".join(lines)
        raise PermanentError(text) from None


def bypass_proxies_on_loopback() -> None:
    """Tell every HTTP library of this process that this machine's own servers need no proxy."""
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [os.environ.get(name, ""), "127.0.0.1", "localhost"]
        os.environ[name] = ",".join(filter(None, hosts))


def process_environment() -> dict[str, str]:
    """Return the environment and `.env` as a child process gets them; the former wins.

    Dagster's EnvVar knows the environment only.
    """
    return {name: value for name, value in dotenv_values(".env").items() if value} | os.environ


def _shown(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    name = str(item["loc"][0]).upper() if item["loc"] else ""
    is_secret = any(word in name for word in ("SECRET", "KEY", "DATABASE_URL"))
    return "(hidden)" if is_secret else repr(item["input"])[:_SHOWN_LENGTH]
