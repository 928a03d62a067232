"""How long things are kept, for the retention assets."""

from datetime import timedelta

import dagster as dg

from influencerai_dagster.stages.retention import RetentionRules


class RetentionResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """RETENTION_DAYS, RETENTION_DRY_RUN and BACKUP_RECOVERY_WINDOW_DAYS."""

    days: int
    is_dry_run: bool
    recovery_window_days: int

    def rules(self) -> RetentionRules:
        """Return the rules as the stage takes them."""
        return RetentionRules(self.days, timedelta(days=self.recovery_window_days))
