"""Record sweeps that end stalled workers and runs, and times without any heartbeat or lease.

A worker that cannot write to PostgreSQL sends no heartbeat, but it is alive. A sweep writes too: if
it could not take place for some time, that time counts for no worker. This covers a server that was
down, read-only or replaced, a machine that slept, and a daemon or code server that was frozen.
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
"""How much of a longer pause between two sweeps counts: slow sweeps must find stalled runs too."""


@dataclass(frozen=True)
class Sweep:
    """One sweep.

    Attributes:
        now: PostgreSQL's time, UTC.
        since: start of the time without a long pause between sweeps.
        missed: how much of the time since the sweep before does not count.
    """

    now: datetime
    since: datetime
    missed: timedelta


def begin_sweep(session: Session, name: str) -> Sweep:
    """Record that a sweep takes place; return it with the time that it has missed."""
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
