"""Build the rules of retention."""

from influencerai_dagster.retention.deletion import RetentionRules
from influencerai_dagster.settings import Settings


def retention_rules(settings: Settings) -> RetentionRules:
    """Return how long media are kept."""
    return RetentionRules(settings.retention.days, settings.backup.recovery_window)
