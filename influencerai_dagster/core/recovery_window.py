"""The recovery window: how far back a backup restores, and how long that keeps what was deleted."""

from datetime import datetime, timedelta

SAFETY_MARGIN = timedelta(days=1)
"""For the hours of a restore, a drill or a late schedule: the oldest time of the recovery window
must stay restorable meanwhile."""


def is_past_window(gone_at: datetime, recovery_window: timedelta, now: datetime) -> bool:
    """Whether no time within the recovery window needs what was deleted then."""
    return gone_at + recovery_window + SAFETY_MARGIN < now
