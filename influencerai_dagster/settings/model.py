"""The one list of settings: every variable with its type, unit and default.

Names are those of the stack this project replaces; `.env.example` lists them all with their
defaults (a test compares). How a text becomes a value is in fields.py.
"""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from dotenv import dotenv_values
from pydantic import AliasGenerator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings.fields import (
    DatabaseUrl,
    Duration,
    DurationOrZero,
    FiniteFloat,
    HostList,
    NetworkList,
    Port,
    PositiveInt,
    SizeBytes,
    TimeZone,
    UrlList,
)

_SHOWN_LENGTH = 200


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
    database_url: DatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/influencerai"
    dagster_database_url: DatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/dagster"

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
    backup_database_url: DatabaseUrl | None = None
    backup_home: Path = Path("data/backups")
    backup_postgres_bin_dir: Path | None = None
    backup_recovery_window_days: PositiveInt = 30
    backup_time_zone: TimeZone = "UTC"
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

    # Dagster's web server
    dagster_url: str = "http://127.0.0.1:3000"
    dagster_webserver_host: str = "127.0.0.1"
    dagster_webserver_port: Port = 3000
    dagster_webserver_allowed_hosts: HostList = ()
    dagster_webserver_user: Annotated[str, Field(pattern="^[^:]*$")] = ""
    dagster_webserver_password: SecretStr | None = None
    dagster_webserver_auth_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]*$")] = ""
    dagster_webserver_proxies: NetworkList = ()
    dagster_webserver_allow_anonymous: bool = False

    # The stack on one machine
    data_dir: Path = Path("data")
    local_postgres_port: Port = 5433
    local_s3_port: Port = 9000
    local_comfyui_port: Port = 8188
    local_openrouter_port: Port = 8189
    local_code_server_port: Port = 4000

    @property
    def dagster_credentials(self) -> tuple[str, str] | None:
        """User and password of Dagster's web server; None if it asks for none."""
        if not (self.dagster_webserver_user and self.dagster_webserver_password):
            return None
        return self.dagster_webserver_user, self.dagster_webserver_password.get_secret_value()

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
    """Return the environment and `.env` as a child process gets them; the former wins."""
    return {name: value for name, value in dotenv_values(".env").items() if value} | os.environ


def _shown(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    name = str(item["loc"][0]).upper() if item["loc"] else ""
    is_secret = any(word in name for word in ("SECRET", "KEY", "PASSWORD", "DATABASE_URL"))
    return "(hidden)" if is_secret else repr(item["input"])[:_SHOWN_LENGTH]
