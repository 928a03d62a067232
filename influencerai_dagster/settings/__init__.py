"""The one reader of the environment: every variable, parsed and validated once, with its unit.

Nothing else reads `os.environ`. In development a file `.env` in the working directory is read too.
"""

from influencerai_dagster.settings.fields import parse_duration, parse_size
from influencerai_dagster.settings.model import (
    Settings,
    bypass_proxies_on_loopback,
    load_settings,
    process_environment,
)

__all__ = [
    "Settings",
    "bypass_proxies_on_loopback",
    "load_settings",
    "parse_duration",
    "parse_size",
    "process_environment",
]
