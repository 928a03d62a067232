"""Read the environment and `.env` into `Settings`; a bad value is an error that names it."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from influencerai_dagster.core.names import nearest
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.settings.env_file import read_env_file
from influencerai_dagster.settings.model import VARIABLES, Settings
from influencerai_dagster.settings.texts import is_secret, set_by_kubernetes

ENV_FILE = Path(".env")
_SHOWN_LENGTH = 200
RENAMED = {
    "GENERATION_LINGER_SECONDS": "GENERATION_IDLE_TIMEOUT_SECONDS",
    "GENERATION_SLICE_SECONDS": "GENERATION_TIME_SLICE_SECONDS",
}
"""Old names of settings, which work until the release after 0.2."""
PLANNED = frozenset({"MONTHLY_OPENROUTER_BUDGET", "LOG_LEVEL"})
"""Settings of the stack that this project replaces which nothing reads yet: they are no typing
errors, and their values are not looked at."""
_OWN_PREFIXES = ("BACKUP_", "COMFYUI_", "KOHYA_", "OPENROUTER_", "S3_")
_DAGSTERS_OWN = {"DAGSTER_CODE_SERVER_HOST", "DAGSTER_CODE_SERVER_PORT"}
_CLOSE, _CLOSE_WITH_PREFIX = 0.75, 0.5  # as in nearest
_log = logging.getLogger(__name__)


def load_settings(env_files: Sequence[Path] = (ENV_FILE,), /, **overrides: Any) -> Settings:  # noqa: ANN401 - pydantic validates them
    """Read the environment and `.env`.

    Args:
        env_files: below the environment; the later one wins.
        overrides: variables by their names in lower case; they win over all.

    Raises:
        PermanentError: some variables have bad values; the text names each, what was found and what
            is allowed. Or a file or a line of it cannot be read.
    """
    values: dict[str, Any] = {}
    for path in env_files:
        values |= _known(read_env_file(path, os.environ), path)
    values |= _known(os.environ, None)
    values |= {name.upper(): value for name, value in overrides.items()}
    return settings_from(values)


def settings_from(variables: Mapping[str, object]) -> Settings:
    """Return settings with these variables set, whatever the environment has.

    Args:
        variables: texts or values; a name that is not a setting changes nothing.

    Raises:
        PermanentError: as `load_settings`.
    """
    groups: dict[str, dict[str, object]] = {name: {} for name in Settings.model_fields}
    for variable, value in variables.items():
        if variable in VARIABLES:
            groups[VARIABLES[variable][0]][variable] = value
    try:
        return Settings.model_validate(groups)
    except ValidationError as error:
        lines = [
            f"  {_shown(item)}: {item['msg'].removeprefix('Value error, ')}"
            for item in error.errors()
        ]
        text = "The environment has settings that cannot be used:\n" + "\n".join(lines)
        raise PermanentError(text) from None


def process_environment() -> dict[str, str]:
    """Return the environment and `.env` as a child process gets them; the former wins."""
    return read_env_file(ENV_FILE, os.environ) | os.environ


def as_variables(settings: Settings) -> dict[str, str]:
    """Return the settings that were set as variables, as any process reads them.

    Folders are absolute, keys are without the newline that came with them.
    """
    found = settings.variables_set()
    return {name: _as_text(value) for name, value in found.items() if value is not None}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, timedelta):
        return f"{value.total_seconds():.0f}s"
    return str(value)


def _known(found: Mapping[str, str], path: Path | None) -> Iterator[tuple[str, str]]:
    """Yield the settings among variables; say once what is left out for what reason."""
    found = _with_new_names(found)
    # One in capitals wins over one that differs in case: it comes later.
    for name, text in sorted(found.items(), key=lambda item: (item[0].isupper(), item[0])):
        is_setting = name.upper() in VARIABLES
        if set_by_kubernetes(name, text) and (is_setting or name in _DAGSTERS_OWN):
            _note(
                f"{name}={text} comes from Kubernetes, for a Service of that name, and is not a "
                "port. Set it in the pod, or keep such variables away with "
                "`enableServiceLinks: false`"
            )
        elif is_setting and text.strip():
            if name != name.upper() and found.get(name.upper(), text) != text:
                _note(f"{name} changes nothing: {name.upper()} is set too. Remove one")
            yield name.upper(), text
        elif not is_setting and path is not None:
            _note_unknown(name, path)


def _with_new_names(found: Mapping[str, str]) -> Mapping[str, str]:
    """Return variables with the new names of the settings that were renamed."""
    renamed = dict(found)
    for old, new in RENAMED.items():
        if old in renamed:
            text = renamed.pop(old)
            _note(f"{old} is called {new} now. Rename it: the old name will stop working")
            renamed.setdefault(new, text)
    return renamed


def _note_unknown(name: str, path: Path) -> None:
    if name in _DAGSTERS_OWN or name.upper() in PLANNED:
        return
    is_like_ours = name.startswith(_OWN_PREFIXES)
    cutoff = _CLOSE_WITH_PREFIX if is_like_ours else _CLOSE
    near = nearest(name, VARIABLES, cutoff=cutoff)
    if near or is_like_ours:
        hint = f": did you mean {near}?" if near else ""
        _note(f"{path}: {name} is not a setting and changes nothing{hint}")


@cache
def _note(text: str) -> None:
    """Say it once in a process: settings are read more than once."""
    _log.warning(text)


def _shown(item: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    name = str(item["loc"][1])  # after the model's name; further parts are of a list
    value = str(item["input"])
    has_secret = is_secret(name) or "DATABASE_URL" in name
    has_secret = has_secret or ("://" in value and ("@" in value or "?" in value))
    return f"{name}={'(hidden)' if has_secret else repr(value)[:_SHOWN_LENGTH]}"
