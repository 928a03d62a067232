"""When a Dagster run counts as dead: its process no longer tells that it lives.

Heartbeats are kept in db/run_heartbeats.py; what becomes of a dead run is in
orchestration/runs/stale_runs_sensor.py.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BEAT_SECONDS = 5.0
STALE_SECONDS = 15.0
"""Two beats may be lost. With the sensor's 5 s, a death is noticed within 30 s."""
FIRST_BEAT_SECONDS = 30.0
"""A run is called started before its process has made its resources, the heartbeat among them."""


@dataclass(frozen=True)
class Heartbeat:
    """What the process of a run last told.

    Attributes:
        activity: what it does, for people: "generate_images_job demo/2026-11-23".
        host: machine and process id.
        silent_seconds: since its last beat, without the time in which nobody could be heard.
    """

    run_id: str
    activity: str
    host: str
    silent_seconds: float


@dataclass(frozen=True)
class RunHealth:
    """What a tick does.

    Attributes:
        dead: why each run counts as dead, by run id.
        ended: runs that are over in Dagster and still have a heartbeat.
    """

    dead: dict[str, str]
    ended: tuple[str, ...]


def decide(
    heartbeats: Iterable[Heartbeat], alive: Mapping[str, float | None], over: set[str]
) -> RunHealth:
    """Find the runs whose process is gone.

    Args:
        heartbeats: of every run that has one.
        alive: runs that should have a process, with the seconds since they started, or since runs
            can be heard again; None for a run that never has a heartbeat or has not started.
        over: runs with a heartbeat that have ended in Dagster, or are deleted there.
    """
    known = {beat.run_id: beat for beat in heartbeats}
    dead = {
        run_id: _silent(beat)
        for run_id, beat in known.items()
        if run_id in alive and beat.silent_seconds >= STALE_SECONDS
    }
    for run_id, seconds in alive.items():
        if run_id not in known and seconds is not None and seconds >= FIRST_BEAT_SECONDS:
            dead[run_id] = _never_heard(seconds)
    return RunHealth(dead, tuple(run_id for run_id in known if run_id in over))


def _silent(beat: Heartbeat) -> str:
    return (
        f"The process of this run is gone: {beat.host} was last heard of "
        f"{beat.silent_seconds:.0f} s ago, doing {beat.activity}, and should tell every "
        f"{BEAT_SECONDS:.0f} s that it lives. It was killed, its machine went down or ran out of "
        "memory, or it cannot reach PostgreSQL. Its jobs are pending again and its pool slots free."
    )


def _never_heard(seconds: float) -> str:
    return (
        f"The process of this run is gone: the run started {seconds:.0f} s ago and its process "
        "never told that it lives. It was killed while it started, or it cannot reach PostgreSQL. "
        "Its pool slots are free."
    )
