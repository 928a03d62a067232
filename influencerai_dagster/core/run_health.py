"""Decide which Dagster runs have stalled: their process no longer sends a heartbeat.

Heartbeats are stored in db/run_heartbeats.py; orchestration/runs/stale_runs_sensor.py ends stalled
runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

BEAT_SECONDS = 5.0


@dataclass(frozen=True)
class HeartbeatLimits:
    """How long a run may be without a heartbeat before it counts as stalled.

    Attributes:
        stale_seconds: since the newest one. Two may be lost; with the sensor's 5 s between two
            ticks, a stalled run is found within 30 s.
        first_seconds: until the first one: Dagster calls a run started before its process has
            started the heartbeat.
    """

    stale_seconds: float = 15.0
    first_seconds: float = 30.0


DEFAULT_LIMITS = HeartbeatLimits()


@dataclass(frozen=True)
class Heartbeat:
    """The newest heartbeat of a run.

    Attributes:
        activity: what it does, for people: "generate_images_job demo/2026-11-23".
        host: machine and process id.
        age_seconds: since it was sent, without the time in which none could be received.
    """

    run_id: str
    activity: str
    host: str
    age_seconds: float


@dataclass(frozen=True)
class RunHealth:
    """The runs that a tick of the sensor ends.

    Attributes:
        stalled: run id → error text of the run.
        ended: runs that ended in Dagster and still have a heartbeat.
    """

    stalled: dict[str, str]
    ended: tuple[str, ...]


def decide(
    heartbeats: Iterable[Heartbeat],
    alive: Mapping[str, float | None],
    over: set[str],
    limits: HeartbeatLimits = DEFAULT_LIMITS,
) -> RunHealth:
    """Find the stalled runs, and the heartbeats that are left of ended ones.

    Args:
        heartbeats: of every run that has one.
        alive: runs that should have a process → seconds since they started, or since heartbeats
            can be received again; None for a run that sends none or has not started.
        over: runs with a heartbeat that have ended in Dagster, or are deleted there.
        limits: how long a run may be without a heartbeat.
    """
    known = {beat.run_id: beat for beat in heartbeats}
    stalled = {
        run_id: _lost(beat)
        for run_id, beat in known.items()
        if run_id in alive and beat.age_seconds >= limits.stale_seconds
    }
    for run_id, seconds in alive.items():
        if run_id not in known and seconds is not None and seconds >= limits.first_seconds:
            stalled[run_id] = _never_started(seconds)
    return RunHealth(stalled, tuple(run_id for run_id in known if run_id in over))


def _lost(beat: Heartbeat) -> str:
    return (
        f"Run worker lost: no heartbeat from {beat.host} for {beat.age_seconds:.0f} s (expected "
        f"every {BEAT_SECONDS:.0f} s) while it ran {beat.activity}. It was killed, its machine "
        "went down or ran out of memory, or it cannot reach PostgreSQL. Its jobs were requeued "
        "and its pool slots freed; no action is needed."
    )


def _never_started(seconds: float) -> str:
    return (
        f"Run worker lost: the run started {seconds:.0f} s ago and its process has sent no "
        "heartbeat. It was killed while it started, or it cannot reach PostgreSQL. Its pool slots "
        "were freed; no action is needed."
    )
