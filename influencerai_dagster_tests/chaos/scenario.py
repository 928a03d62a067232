"""What is submitted and what breaks when: a pure function of a seed and a number of jobs.

The clock of a scenario is progress, not seconds: an event is due when so many jobs have ended. So
the same seed breaks the same things at the same places on a slow machine as on a fast one. How
things are broken lives in faults.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random

TENANTS = ("amber", "basil", "coral", "dahlia")
NUM_SERVERS = 3
BAD_SAMPLER = "no such sampler"
WAVES = 5
LONG_RUN = 1000
"""From so many jobs on, some outages last as long as in the worst real hour."""

_JOBS_PER_FAULT = 40
_BAD_SHARE = 0.02
_CANCELLED_SHARE = 0.03
_REPEATED_SHARE = 0.1
_LONG_SHARE = 0.1
_WAVE_AT = 0.4  # the next wave is submitted when this share of what was submitted has ended
_LAST_FAULT_AT = 0.7  # after that the studio may finish in peace
_NUM_REPEATED = 20


class Action(StrEnum):
    """Something that happens to the studio; the value is its name in reports."""

    KILL_WORKER = "worker killed"
    STOP_WORKER = "worker frozen beyond its lease"
    END_WORKER = "worker asked to end"
    KILL_COMFYUI = "ComfyUI killed"
    HANG_COMFYUI = "ComfyUI hangs silently"
    REPLACE_HUNG_COMFYUI = "hung ComfyUI killed"
    SILENCE_SOCKETS = "ComfyUI sockets silent"
    DROP_SOCKETS = "ComfyUI sockets cut"
    LOSE_OUTPUT = "ComfyUI output lost"
    LOSE_ANSWER = "ComfyUI answer lost"
    ANSWER_500 = "ComfyUI answers 500"
    REFUSE_COMFYUI = "ComfyUI refuses connections"
    OUT_OF_MEMORY = "ComfyUI out of memory"
    KILL_S3 = "S3 killed"
    REFUSE_S3 = "S3 refuses connections"
    ANSWER_503 = "S3 answers 503"
    KILL_POSTGRES = "PostgreSQL killed"
    RESTART_POSTGRES = "PostgreSQL restarted"
    SUBMIT_AGAIN = "submitted again"
    CANCEL = "cancelled"


_SECONDS = {
    Action.KILL_COMFYUI: (0.0, 4.0),
    Action.HANG_COMFYUI: (3.0, 10.0),
    Action.REPLACE_HUNG_COMFYUI: (3.0, 10.0),
    Action.SILENCE_SOCKETS: (1.0, 5.0),
    Action.ANSWER_500: (0.5, 3.0),
    Action.REFUSE_COMFYUI: (0.5, 4.0),
    Action.KILL_S3: (0.0, 4.0),
    Action.REFUSE_S3: (0.5, 5.0),
    Action.ANSWER_503: (0.5, 5.0),
    Action.KILL_POSTGRES: (0.0, 2.0),
    Action.RESTART_POSTGRES: (0.0, 2.0),
}
_LONG_SECONDS = {
    Action.HANG_COMFYUI: (30.0, 60.0),
    Action.REPLACE_HUNG_COMFYUI: (30.0, 60.0),
    Action.KILL_COMFYUI: (15.0, 45.0),
    Action.KILL_S3: (30.0, 60.0),
    Action.REFUSE_S3: (30.0, 60.0),
    Action.KILL_POSTGRES: (5.0, 15.0),
}
_FAULTS = tuple(action for action in Action if action not in {Action.SUBMIT_AGAIN, Action.CANCEL})
_WEIGHTS = {Action.KILL_WORKER: 3.0, Action.KILL_COMFYUI: 2.0}


@dataclass(frozen=True)
class Submission:
    """One job as it is submitted.

    Attributes:
        key: its idempotency key.
        is_bad: it asks for what cannot be made, and has to fail for that.
    """

    number: int
    tenant: str
    key: str
    priority: int
    steps: int
    is_bad: bool


@dataclass(frozen=True)
class Wave:
    """Submissions that come together, when `after_ended` jobs have ended."""

    after_ended: int
    submissions: tuple[Submission, ...]


@dataclass(frozen=True)
class Event:
    """One thing that happens, when `after_ended` jobs have ended.

    Attributes:
        target: which worker, server or submission, modulo how many there are.
        seconds: how long it lasts, where it lasts.
        count: how often, where it is counted.
    """

    after_ended: int
    action: Action
    target: int
    seconds: float
    count: int


@dataclass(frozen=True)
class Scenario:
    """All that is submitted and all that happens, each in order of `after_ended`."""

    seed: int
    waves: tuple[Wave, ...]
    events: tuple[Event, ...]

    @property
    def submissions(self) -> tuple[Submission, ...]:
        """All submissions, by number."""
        return tuple(submission for wave in self.waves for submission in wave.submissions)


def draw_scenario(seed: int, num_jobs: int) -> Scenario:
    """Draw a scenario; every kind of fault is in it at least once."""
    random = Random(seed)  # noqa: S311 - no secret
    submissions = [_submission(random, seed, number) for number in range(num_jobs)]
    num_more = num_jobs // _JOBS_PER_FAULT
    weights = [_WEIGHTS.get(action, 1.0) for action in _FAULTS]
    actions = [
        *_FAULTS,
        *random.choices(_FAULTS, weights, k=num_more),
        *[Action.CANCEL] * max(1, round(num_jobs * _CANCELLED_SHARE)),
        *[Action.SUBMIT_AGAIN] * max(1, round(num_jobs * _REPEATED_SHARE / _NUM_REPEATED)),
    ]
    events = [_event(random, action, num_jobs) for action in actions]
    events.sort(key=lambda event: event.after_ended)
    return Scenario(seed, tuple(_waves(submissions)), tuple(events))


def repeated(submissions: Sequence[Submission], event: Event) -> Sequence[Submission]:
    """Return the submissions that a SUBMIT_AGAIN means, of those that were submitted."""
    first = event.target % len(submissions)
    return submissions[first : first + _NUM_REPEATED]


def _submission(random: Random, seed: int, number: int) -> Submission:
    return Submission(
        number=number,
        tenant=random.choice(TENANTS),
        key=f"{seed}/{number}",
        priority=random.randint(0, 9),
        steps=random.randint(1, 3),
        is_bad=random.random() < _BAD_SHARE,
    )


def _waves(submissions: list[Submission]) -> list[Wave]:
    size = -(-len(submissions) // WAVES)
    return [
        Wave(int(_WAVE_AT * first), tuple(submissions[first : first + size]))
        for first in range(0, len(submissions), size)
    ]


def _event(random: Random, action: Action, num_jobs: int) -> Event:
    is_long = num_jobs >= LONG_RUN and random.random() < _LONG_SHARE
    seconds = _SECONDS.get(action, (0.0, 0.0))
    if is_long:
        seconds = _LONG_SECONDS.get(action, seconds)
    return Event(
        after_ended=random.randint(1, max(1, int(num_jobs * _LAST_FAULT_AT))),
        action=action,
        target=random.randrange(2**31),
        seconds=round(random.uniform(*seconds), 2),
        count=random.randint(1, 3),
    )
