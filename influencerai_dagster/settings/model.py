"""Every setting with its type, unit and default: one frozen model for each prefix of variables.

A field's variable is the prefix and the field's name in capitals, unless the field names another
one. Variables are those of the stack that this project replaces; `.env.example` lists them in this
order with their defaults (a test compares). fields.py turns the text of a variable into a value.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasGenerator,
    BaseModel,
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
    DurationOrZero,
    FiniteFloat,
    HostList,
    HttpUrl,
    JwtSecret,
    KeyId,
    NameList,
    NetworkList,
    NodeClasses,
    OriginList,
    Port,
    PositiveInt,
    ProgramPath,
    Secret,
    SizeBytes,
    TimeZone,
    UrlList,
)
from influencerai_dagster.settings.texts import cleaned


def _prefixed(prefix: str) -> ConfigDict:
    """Return the configuration of a model whose variables begin with a prefix."""
    return ConfigDict(
        alias_generator=AliasGenerator(validation_alias=lambda name: f"{prefix}{name.upper()}")
    )


class SettingsGroup(BaseModel):
    """Base of the models: the settings whose variables have one prefix."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,  # folders become absolute
    )

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a field."""
        return str(cls.model_fields[field].validation_alias)

    @field_validator("*", mode="before")
    @classmethod
    def _cleaned(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401 - of any field
        if isinstance(value, str):
            return cleaned(cls.variable(str(info.field_name)), value)
        return value


class DatabaseSettings(SettingsGroup):
    """The catalog's PostgreSQL."""

    model_config = _prefixed("DATABASE_")

    url: DatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/influencerai"


class DagsterSettings(SettingsGroup):
    """Dagster's PostgreSQL and web server."""

    model_config = _prefixed("DAGSTER_")

    home: AbsolutePath | None = None
    database_url: DagsterDatabaseUrl = "postgresql://influencerai@127.0.0.1:5432/dagster"
    url: HttpUrl = "http://127.0.0.1:3000"
    webserver_host: str = "127.0.0.1"
    webserver_port: Port = 3000
    webserver_allowed_hosts: HostList = ()
    webserver_user: Annotated[str, Field(pattern="^[^:]*$")] = ""
    webserver_password: Secret | None = None
    webserver_auth_header: Annotated[str, Field(pattern="^[A-Za-z0-9-]*$")] = ""
    webserver_proxies: NetworkList = ()
    webserver_allow_anonymous: bool = False

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password of the web server; None if it asks for none."""
        if not (self.webserver_user and self.webserver_password):
            return None
        return self.webserver_user, self.webserver_password.get_secret_value()


class S3Settings(SettingsGroup):
    """The bucket of assets."""

    model_config = _prefixed("S3_")

    endpoint: HttpUrl | None = None
    key: KeyId = ""
    secret: ApiKey = SecretStr("")
    bucket: BucketName = "assets"
    region: str = "us-east-1"
    force_path_style: bool = True
    checksum_mode: Literal["when_required", "when_supported"] = "when_required"
    disk: AbsolutePath | None = None
    presign_seconds: Annotated[int, Field(ge=1, le=7 * 24 * 3600)] = 3600


class OpenRouterSettings(SettingsGroup):
    """OpenRouter and the cache of its responses."""

    model_config = _prefixed("OPENROUTER_")

    api_key: ApiKey | None = None
    base_url: HttpUrl = "https://openrouter.ai/api/v1"
    caption_model: str = "google/gemini-2.5-flash"
    cache_ttl: DurationOrZero = timedelta(hours=24)
    is_cache_enabled: Annotated[bool, Field(validation_alias="ENABLE_CACHING")] = True


class ComfyUISettings(SettingsGroup):
    """The ComfyUI servers."""

    model_config = _prefixed("COMFYUI_")

    urls: Annotated[UrlList, Field(validation_alias="COMFYUI_URL")] = ("http://127.0.0.1:8188",)
    timeout_ms: Annotated[PositiveInt, Field(validation_alias="COMFYUI_TIMEOUT")] = 300_000
    lora_dir: AbsolutePath | None = None
    tenant_nodes: NodeClasses = ()

    @property
    def timeout_seconds(self) -> float:
        """How long one render may take."""
        return self.timeout_ms / 1000


class KohyaSettings(SettingsGroup):
    """The installation of kohya sd-scripts."""

    model_config = _prefixed("KOHYA_")

    dir: AbsolutePath | None = None
    python: ProgramPath | None = None
    models_dir: AbsolutePath | None = None
    tokenizer_cache_dir: AbsolutePath | None = None
    extra_variables: NameList = ()


class TrainingSettings(SettingsGroup):
    """Trainings of LoRAs."""

    model_config = _prefixed("TRAINING_")

    dir: AbsolutePath = Path("data/training")
    default_preset: Annotated[str, Field(validation_alias="DEFAULT_TRAINING_PRESET")] = "sd15-face"
    is_gpu_shared: Annotated[bool, Field(validation_alias="GPU_SHARED")] = False


class DatasetSettings(SettingsGroup):
    """Limits of uploads, checks of datasets and captions."""

    model_config = _prefixed("DATASET_")

    max_upload_size_bytes: Annotated[SizeBytes, Field(validation_alias="MAX_UPLOAD_SIZE")] = (
        100 * 1000**2
    )
    max_images: Annotated[PositiveInt, Field(validation_alias="MAX_DATASET_IMAGES")] = 5000
    max_image_pixels: Annotated[PositiveInt, Field(validation_alias="MAX_IMAGE_PIXELS")] = (
        40_000_000
    )
    min_image_side_px: Annotated[PositiveInt, Field(validation_alias="MIN_IMAGE_SIDE_PX")] = 256
    settle_seconds: Annotated[int, Field(ge=0)] = 30
    rights: Literal["block", "warn"] = "warn"
    captions: Literal["block", "warn"] = "block"
    has_auto_captions: Annotated[bool, Field(validation_alias="ENABLE_AUTO_CAPTIONS")] = False
    auto_captioner: Annotated[
        Literal["blip", "wd14", "openrouter"], Field(validation_alias="AUTO_CAPTIONER")
    ] = "blip"


class QueueConcurrencySettings(SettingsGroup):
    """Limits of Dagster's pools: how many runs of a kind work at once."""

    model_config = _prefixed("QUEUE_CONCURRENCY_")

    content_gen: PositiveInt = 3
    video_gen: PositiveInt = 2
    lora_training: PositiveInt = 1


class GenerationSettings(SettingsGroup):
    """Generation jobs and the workers that render them."""

    model_config = _prefixed("GENERATION_")

    idle_timeout_seconds: FiniteFloat = 10.0
    time_slice_seconds: FiniteFloat = 30.0
    max_pending_jobs_per_tenant: Annotated[
        PositiveInt, Field(validation_alias="MAX_PENDING_JOBS_PER_TENANT")
    ] = 10_000


class BackupSettings(SettingsGroup):
    """Backups of the databases and the objects."""

    model_config = _prefixed("BACKUP_")

    database_mode: Literal["barman", "pg_dump"] = "barman"
    database_url: DatabaseUrl | None = None
    home: AbsolutePath = Path("data/backups")
    postgres_bin_dir: AbsolutePath | None = None
    recovery_window_days: Annotated[int, Field(ge=1, le=36500)] = 30
    time_zone: TimeZone = "UTC"
    target: BackupTargetText | None = None
    s3_endpoint: HttpUrl | None = None
    s3_key: KeyId = ""
    s3_secret: ApiKey = SecretStr("")
    s3_region: str = "us-east-1"
    encryption_key: Secret | None = None
    bandwidth_limit: str = ""

    @property
    def recovery_window(self) -> timedelta:
        """How far back any time can be restored."""
        return timedelta(days=self.recovery_window_days)


class RetentionSettings(SettingsGroup):
    """How long media are kept."""

    model_config = _prefixed("RETENTION_")

    days: Annotated[int, Field(ge=1, le=36500)] = 90
    is_dry_run: Annotated[bool, Field(validation_alias="RETENTION_DRY_RUN")] = True


class ApiSettings(SettingsGroup):
    """The tenants' API."""

    model_config = _prefixed("API_")

    host: str = "127.0.0.1"
    port: Annotated[Port, Field(validation_alias="PORT")] = 3001
    proxies: NetworkList = ()
    jwt_secret: Annotated[JwtSecret | None, Field(validation_alias="JWT_SECRET")] = None
    jwt_secret_previous: Annotated[
        JwtSecret | None, Field(validation_alias="JWT_SECRET_PREVIOUS")
    ] = None
    jwt_expires_in: Annotated[
        DurationOrZero, Field(validation_alias="JWT_EXPIRES_IN", ge=timedelta(minutes=1))
    ] = timedelta(hours=12)
    cors_origins: Annotated[OriginList, Field(validation_alias="CORS_ORIGIN")] = ()
    has_rate_limits: Annotated[bool, Field(validation_alias="ENABLE_RATE_LIMITING")] = True
    requests_per_minute: PositiveInt = 600
    has_docs: Annotated[bool, Field(validation_alias="SWAGGER_ENABLED")] = True


class LocalSettings(SettingsGroup):
    """The stack on one machine."""

    model_config = _prefixed("LOCAL_")

    data_dir: Annotated[AbsolutePath, Field(validation_alias="DATA_DIR")] = Path("data")
    postgres_port: Port = 5433
    s3_port: Port = 9000
    comfyui_port: Port = 8188
    openrouter_port: Port = 8189
    code_server_port: Port = 4000


class Settings(BaseModel):
    """All settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    database: DatabaseSettings = Field(default_factory=DatabaseSettings)
    s3: S3Settings = Field(default_factory=S3Settings)
    openrouter: OpenRouterSettings = Field(default_factory=OpenRouterSettings)
    comfyui: ComfyUISettings = Field(default_factory=ComfyUISettings)
    kohya: KohyaSettings = Field(default_factory=KohyaSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    datasets: DatasetSettings = Field(default_factory=DatasetSettings)
    queue_concurrency: QueueConcurrencySettings = Field(default_factory=QueueConcurrencySettings)
    generation: GenerationSettings = Field(default_factory=GenerationSettings)
    backup: BackupSettings = Field(default_factory=BackupSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    dagster: DagsterSettings = Field(default_factory=DagsterSettings)
    api: ApiSettings = Field(default_factory=ApiSettings)
    local: LocalSettings = Field(default_factory=LocalSettings)

    def variables_set(self) -> dict[str, object]:
        """Return the values of the variables that were set, by variable."""
        found: dict[str, object] = {}
        for variable, (group_name, field) in VARIABLES.items():
            group: SettingsGroup = getattr(self, group_name)
            if field in group.model_fields_set:
                found[variable] = getattr(group, field)
        return found


def _variables() -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for group_name, group_field in Settings.model_fields.items():
        group: Any = group_field.annotation  # a SettingsGroup
        found |= {group.variable(field): (group_name, field) for field in group.model_fields}
    return found


VARIABLES: Mapping[str, tuple[str, str]] = _variables()
"""Variable → model and field, in the order of the code."""
