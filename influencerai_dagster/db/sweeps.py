"""Record sweeps that end the leases of stalled workers, and times without any renewal.

A worker that cannot write to PostgreSQL renews no lease, but it is alive. A sweep writes too: if
it could not take place for some time, that time counts for no worker. This covers a server that was
down, read-only or replaced, a machine that slept, and a daemon or code server that was frozen.
"""

from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from influencerai_dagster.db.models.scheduling import SweepRow

LEASES = "leases"
_LONGEST_PAUSE = timedelta(seconds=10)
_COUNTED = timedelta(seconds=5)
"""How much of a longer pause between two sweeps counts: slow sweeps must find them too."""


def begin_sweep(session: Session, name: str) -> timedelta:
    """Record that a sweep takes place.

    Returns:
        How much of the time since the sweep before does not count.
    """
    earlier = select(func.now(), SweepRow.swept_at).where(SweepRow.name == name)
    found = session.execute(earlier.with_for_update()).first()
    pause = timedelta(0) if found is None else found[0] - found[1]
    statement = insert(SweepRow).values(name=name, swept_at=func.now())
    values = {"swept_at": func.now()}
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    return pause - _COUNTED if pause > _LONGEST_PAUSE else timedelta(0)
