"""The recovery window: how far back every backup restores, and what must be kept for that."""

from datetime import datetime, timedelta

SAFETY_MARGIN = timedelta(days=1)
"""A restore, a drill and a late schedule take hours, in which the oldest moment of the recovery
window must stay whole."""


def is_past_window(gone_at: datetime, recovery_window: timedelta, now: datetime) -> bool:
    """Tell whether no moment within the recovery window can name what is gone since then."""
    return gone_at + recovery_window + SAFETY_MARGIN < now
