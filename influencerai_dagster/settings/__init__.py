"""The one reader of the environment: every variable, parsed and validated once, with its unit.

Nothing else reads a setting from `os.environ`; what other programs get of it is in
program_environment.py. In development a file `.env` in the working directory is read too.
"""

from influencerai_dagster.settings.fields import parse_duration, parse_size
from influencerai_dagster.settings.loading import (
    ENV_FILE,
    as_variables,
    load_settings,
    process_environment,
    settings_from,
)
from influencerai_dagster.settings.model import VARIABLES, Settings

__all__ = [
    "ENV_FILE",
    "VARIABLES",
    "Settings",
    "as_variables",
    "load_settings",
    "parse_duration",
    "parse_size",
    "process_environment",
    "settings_from",
]
