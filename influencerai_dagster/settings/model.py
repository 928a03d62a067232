"""The one list of settings: every variable with its type, unit and default.

Names are those of the stack this project replaces; `.env.example` lists them all with their
defaults (a test compares). How a text becomes a value is in fields.py.
"""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from influencerai_dagster.settings.fields import (
    AbsolutePath,
    ApiKey,
    BackupTargetText,
    BucketName,
    DagsterDatabaseUrl,
    DatabaseUrl,
    Duration,
    DurationOrZero,
    FiniteFloat,
    HostList,
    HttpUrl,
    KeyId,
    NameList,
    NetworkList,
    NodeClasses,
    Port,
    PositiveInt,
    ProgramPath,
    Secret,
    SizeBytes,
    TimeZone,
    UrlList,
    parse_log_level,
)
from influencerai_dagster.settings.texts import cleaned


class Settings(BaseModel):
    """All settings; a field's environment variable is its name in capitals."""

    model_config = ConfigDict(
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        validate_default=True,  # folders become absolute
        alias_generator=AliasGenerator(validation_alias=str.upper),
    )

    # PostgreSQL
    database_url: DatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/influencerai"
    dagster_database_url: DagsterDatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/dagster"

    # S3
    s3_endpoint: HttpUrl | None = None
    s3_key: KeyId = ""
    s3_secret: ApiKey = SecretStr("")
    s3_bucket: BucketName = "assets"
    s3_region: str = "us-east-1"
    s3_force_path_style: bool = True
    s3_checksum_mode: Literal["when_required", "when_supported"] = "when_required"
    s3_disk: AbsolutePath | None = None
    s3_presign_seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 3600

    # Tenant API
    port: Port = 3001
    jwt_secret: Secret | None = None
    jwt_expires_in: Duration = timedelta(days=7)
    cors_origin: str = "http://localhost:3000"
    swagger_enabled: bool = True
    enable_rate_limiting: bool = True

    # OpenRouter
    openrouter_api_key: ApiKey | None = None
    openrouter_base_url: HttpUrl = "https://openrouter.ai/api/v1"
    openrouter_caption_model: str = "google/gemini-2.5-flash"
    monthly_openrouter_budget: FiniteFloat = 150.00
    openrouter_cache_ttl: DurationOrZero = timedelta(hours=24)
    enable_caching: bool = True

    # ComfyUI
    comfyui_url: UrlList = ("http://127.0.0.1:8188",)
    comfyui_timeout: PositiveInt = 300_000
    comfyui_lora_dir: AbsolutePath | None = None
    comfyui_tenant_nodes: NodeClasses = ()

    # kohya sd-scripts
    kohya_dir: AbsolutePath | None = None
    kohya_python: ProgramPath | None = None
    kohya_models_dir: AbsolutePath | None = None
    kohya_tokenizer_cache_dir: AbsolutePath | None = None
    kohya_extra_variables: NameList = ()
    training_dir: AbsolutePath = Path("data/training")
    default_training_preset: str = "sd15-face"
    gpu_shared: bool = False

    # Datasets and captions
    max_upload_size: SizeBytes = 100 * 1000**2
    max_dataset_images: PositiveInt = 5000
    max_image_pixels: PositiveInt = 40_000_000
    min_image_side_px: PositiveInt = 256
    dataset_settle_seconds: Annotated[int, Field(ge=0)] = 30
    dataset_rights: Literal["block", "warn"] = "warn"
    dataset_captions: Literal["block", "warn"] = "block"
    enable_auto_captions: bool = False
    auto_captioner: Literal["blip", "wd14", "openrouter"] = "blip"

    # Queues and limits
    queue_concurrency_content_gen: PositiveInt = 3
    queue_concurrency_video_gen: PositiveInt = 2
    queue_concurrency_lora_training: PositiveInt = 1
    generation_idle_timeout_seconds: FiniteFloat = 10.0
    generation_time_slice_seconds: FiniteFloat = 30.0
    max_pending_jobs_per_tenant: PositiveInt = 10_000
    log_level: Annotated[
        Literal["debug", "info", "warn", "error"], BeforeValidator(parse_log_level)
    ] = "info"

    # Backups
    backup_database_mode: Literal["barman", "pg_dump"] = "barman"
    backup_database_url: DatabaseUrl | None = None
    backup_home: AbsolutePath = Path("data/backups")
    backup_postgres_bin_dir: AbsolutePath | None = None
    backup_recovery_window_days: Annotated[int, Field(ge=1, le=36500)] = 30
    backup_time_zone: TimeZone = "UTC"
    backup_target: BackupTargetText | None = None
    backup_s3_endpoint: HttpUrl | None = None
    backup_s3_key: KeyId = ""
    backup_s3_secret: ApiKey = SecretStr("")
    backup_s3_region: str = "us-east-1"
    backup_encryption_key: Secret | None = None
    backup_bandwidth_limit: str = ""

    # Retention
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 90
    retention_dry_run: bool = True

    # Dagster's web server
    dagster_url: HttpUrl = "http://127.0.0.1:3000"
    dagster_webserver_host: str = "127.0.0.1"
    dagster_webserver_port: Port = 3000
    dagster_webserver_allowed_hosts: HostList = ()
    dagster_webserver_user: Annotated[str, Field(pattern="^[^:]*$")] = ""
    dagster_webserver_password: Secret | None = None
    dagster_webserver_auth_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]*$")] = ""
    dagster_webserver_proxies: NetworkList = ()
    dagster_webserver_allow_anonymous: bool = False

    # The stack on one machine
    data_dir: AbsolutePath = Path("data")
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

    @field_validator("*", mode="before")
    @classmethod
    def _cleaned(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - of any field
        if isinstance(value, str):
            return cleaned(str(info.field_name).upper(), value)
        return value
