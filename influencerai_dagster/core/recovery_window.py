"""Define how far back target times can be restored, and what is kept for that."""

from datetime import datetime, timedelta

SAFETY_MARGIN = timedelta(days=1)
"""For a restore, a drill or a late schedule of some hours at the beginning of the window."""


def is_past_window(gone_at: datetime, recovery_window: timedelta, now: datetime) -> bool:
    """Whether no target time in the window can need what was removed or replaced then."""
    return gone_at + recovery_window + SAFETY_MARGIN < now
