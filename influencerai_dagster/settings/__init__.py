"""Read the environment, in this one place: every variable, parsed and checked, with its unit.

Nothing else reads a setting from `os.environ`; program_environment.py says which variables other
programs get. In development a file `.env` in the working directory is read too.
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
