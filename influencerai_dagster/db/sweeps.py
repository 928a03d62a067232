"""Time the sweeps that end stalled workers and runs, and discount outages between them.

A worker that cannot write to PostgreSQL is silent and not dead. A sweep writes too, so it knows:
the time that it missed itself is held against nobody. That covers a server that was down, read-only
or replaced, a machine that slept, and a daemon or code server that was frozen.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.db.models.scheduling import SweepRow

LEASES = "leases"
HEARTBEATS = "heartbeats"
_LONGEST_PAUSE = timedelta(seconds=10)
_COUNTED = timedelta(seconds=5)
"""Of a longer pause between two sweeps so much counts, so that slow sweeps reach an end too."""


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        now: PostgreSQL's time, UTC.
        since: from when on it was swept without a long pause.
        missed: how much of the time since the sweep before counts for nobody.
    """

    now: datetime
    since: datetime
    missed: timedelta


def begin_sweep(session: Session, name: str) -> Sweep:
    """Write down that a sweep takes place, and tell how much time it has missed."""
    earlier = select(func.now(), SweepRow.swept_at, SweepRow.since).where(SweepRow.name == name)
    found = session.execute(earlier.with_for_update()).first()
    if found is None:
        now = session.execute(select(func.now())).scalar_one()
        sweep = Sweep(now, now, timedelta(0))
    else:
        now, swept_at, since = found
        pause = now - swept_at
        is_long = pause > _LONGEST_PAUSE
        sweep = Sweep(now, now if is_long else since, pause - _COUNTED if is_long else timedelta(0))
    values = {"swept_at": sweep.now, "since": sweep.since}
    statement = insert(SweepRow).values(name=name, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    return sweep
