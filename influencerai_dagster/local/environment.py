"""Build the variables of the local stack, and write them where other commands find them.

`<data_dir>/stack.env` is there while the stack runs. Nothing reads it on its own, so that a
forgotten one cannot point production at a laptop; the command line asks for it by
`running_stack_settings`.
"""

import json
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from influencerai_dagster.files import write_new, write_whole
from influencerai_dagster.http_clients import without_proxy_on_loopback
from influencerai_dagster.local.object_store import ObjectStoreServer
from influencerai_dagster.local.postgres import PostgresServer, programs_dir
from influencerai_dagster.local.processes import LOOPBACK
from influencerai_dagster.program_environment import UTC, without_postgres_variables
from influencerai_dagster.settings import ENV_FILE, Settings, as_variables, load_settings

S3_ACCESS_KEY = "influencerai"
_SIMULATED_KOHYA_DIR = Path(__file__).parents[1] / "simulators" / "sd_scripts"
STACK_ENV_FILE = "stack.env"
_SECRETS_FILE = "stack-secrets.json"


@dataclass(frozen=True)
class StackSecrets:
    """The secrets that the stack made on its first start."""

    postgres_password: str
    s3_secret: str
    jwt_secret: str


@dataclass(frozen=True)
class Simulated:
    """Which engines are simulated: those that no setting names."""

    comfyui: bool
    kohya: bool
    openrouter: bool

    @classmethod
    def of(cls, settings: Settings) -> "Simulated":
        """Return which engines have a setting."""
        return cls(
            comfyui="urls" not in settings.comfyui.model_fields_set,
            kohya=settings.kohya.dir is None,
            openrouter=settings.openrouter.api_key is None,
        )


def load_secrets(data_dir: Path) -> StackSecrets:
    """Return the stack's secrets; they are made, readable by the owner only, on the first call."""
    path = data_dir / _SECRETS_FILE
    names = [field.name for field in fields(StackSecrets)]
    if not path.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        # Unless another start was quicker: its secrets are the ones.
        write_new(path, json.dumps(_made(names)).encode())
    found = json.loads(path.read_text())  # stacks of version 0.1 have a further one
    missing = [name for name in names if name not in found]
    if missing:  # of a stack that is older than the API
        found |= _made(missing)
        write_whole(path, json.dumps(found).encode())
    return StackSecrets(**{name: found[name] for name in names})


def _made(names: Iterable[str]) -> dict[str, str]:
    return {name: secrets.token_urlsafe(32) for name in names}


def has_secrets(data_dir: Path) -> bool:
    """Return whether a stack was ever started in a folder."""
    return (data_dir / _SECRETS_FILE).exists()


def postgres_server(settings: Settings) -> PostgresServer:
    """Return the stack's PostgreSQL."""
    data_dir = settings.local.data_dir.resolve()
    password = load_secrets(data_dir).postgres_password
    return PostgresServer(data_dir / "postgres", settings.local.postgres_port, password)


def s3_server(settings: Settings) -> ObjectStoreServer:
    """Return the stack's S3 server."""
    data_dir = settings.local.data_dir.resolve()
    secret = load_secrets(data_dir).s3_secret
    port, bucket = settings.local.s3_port, settings.s3.bucket
    return ObjectStoreServer(data_dir, port, S3_ACCESS_KEY, secret, buckets=[bucket])


def stack_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that make any process of this project use the local stack."""
    data_dir = settings.local.data_dir.resolve()
    postgres, s3, simulated = (
        postgres_server(settings),
        s3_server(settings),
        Simulated.of(settings),
    )
    environment = {
        "DATA_DIR": str(data_dir),
        # It has no TLS, whatever PGSSLMODE says.
        "DATABASE_URL": f"{postgres.url('influencerai')}?sslmode=disable",
        "DAGSTER_DATABASE_URL": f"{postgres.url('dagster')}?sslmode=disable",
        "DAGSTER_HOME": str(data_dir / "dagster_home"),
        "DAGSTER_URL": f"http://{LOOPBACK}:{settings.dagster.webserver_port}",
        "DAGSTER_WEBSERVER_HOST": LOOPBACK,
        "DAGSTER_WEBSERVER_PORT": str(settings.dagster.webserver_port),
        "DAGSTER_CODE_SERVER_HOST": LOOPBACK,
        "DAGSTER_CODE_SERVER_PORT": str(settings.local.code_server_port),
        "API_HOST": LOOPBACK,
        "PORT": str(settings.api.port),
        "S3_ENDPOINT": s3.endpoint_url,
        "S3_KEY": s3.access_key,
        "S3_SECRET": s3.secret_key,
        "S3_BUCKET": settings.s3.bucket,
        "S3_DISK": str(s3.root_dir / settings.s3.bucket),
        "S3_FORCE_PATH_STYLE": "true",
    }
    if "dir" not in settings.training.model_fields_set:
        environment["TRAINING_DIR"] = str(data_dir / "training")
    if "home" not in settings.backup.model_fields_set:
        environment["BACKUP_HOME"] = str(data_dir / "backups")
    if settings.backup.postgres_bin_dir is None:
        environment["BACKUP_POSTGRES_BIN_DIR"] = str(programs_dir())
    if simulated.comfyui:
        environment["COMFYUI_URL"] = f"http://{LOOPBACK}:{settings.local.comfyui_port}"
        environment["COMFYUI_LORA_DIR"] = str(data_dir / "models" / "loras")
    if simulated.openrouter:
        url = f"http://{LOOPBACK}:{settings.local.openrouter_port}/api/v1"
        environment |= {"OPENROUTER_API_KEY": "simulated", "OPENROUTER_BASE_URL": url}
    if simulated.kohya:
        environment["KOHYA_DIR"] = str(_SIMULATED_KOHYA_DIR)
        environment["KOHYA_PYTHON"] = sys.executable
        environment["KOHYA_MODELS_DIR"] = str(data_dir / "models")
        passed = (*settings.kohya.extra_variables, "SIMULATOR_*")
        environment["KOHYA_EXTRA_VARIABLES"] = ",".join(passed)
    return environment


def child_environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the complete environment of a process of the stack.

    Args:
        settings: of the stack.
        inherited: of this process.
    """
    return {
        **without_postgres_variables(inherited),
        **as_variables(settings),
        **stack_environment(settings),
        **UTC,
        "PYTHONUNBUFFERED": "1",
        **without_proxy_on_loopback(inherited),
    }


def api_environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the API: it alone gets the secret that signs tokens.

    Args:
        settings: of the stack.
        environment: of its other processes.
    """
    if settings.api.jwt_secret is not None:
        return dict(environment)
    secret = load_secrets(settings.local.data_dir.resolve()).jwt_secret
    return {**environment, "JWT_SECRET": secret}


def write_stack_env(settings: Settings) -> Path:
    """Write the running stack's variables where other commands find them."""
    path = settings.local.data_dir.resolve() / STACK_ENV_FILE
    lines = [f"{name}={_quoted(value)}" for name, value in stack_environment(settings).items()]
    write_whole(path, "\n".join([*lines, ""]).encode())
    return path


def remove_stack_env(settings: Settings) -> None:
    """Tell other commands that the stack no longer runs."""
    (settings.local.data_dir.resolve() / STACK_ENV_FILE).unlink(missing_ok=True)


def running_stack_settings() -> Settings:
    """Return the settings, with those of the local stack below `.env` and the environment.

    Where no stack runs in DATA_DIR they are the plain settings.
    """
    own = load_settings()
    return load_settings((own.local.data_dir / STACK_ENV_FILE, ENV_FILE))


def _quoted(value: str) -> str:
    """Return a value as a shell and `.env` read it alike; folders may have any character."""
    if "'" not in value:
        return f"'{value}'"
    return '"' + re.sub(r'(["\\\\$`])', r"\\\1", value) + '"'
