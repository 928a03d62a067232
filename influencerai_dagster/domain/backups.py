"""How long a backup keeps what is gone; pure rules without I/O."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

SAFETY_MARGIN = timedelta(days=1)
"""A restore, a drill and a late schedule take hours, in which the oldest moment of the recovery
window must stay whole."""


def is_past_window(gone_at: datetime, recovery_window: timedelta, now: datetime) -> bool:
    """Tell whether no moment within the recovery window can name what is gone since then."""
    return gone_at + recovery_window + SAFETY_MARGIN < now


def still_missing(
    known: Mapping[str, datetime], missing: Iterable[str], now: datetime
) -> dict[str, datetime]:
    """Return since when each missing key is missing: as it was known, or now.

    A key that came back is forgotten: its time begins again when it goes again.
    """
    return {key: known.get(key, now) for key in sorted(missing)}
