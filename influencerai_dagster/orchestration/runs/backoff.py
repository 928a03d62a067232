"""Decide when a sensor starts the next run after runs that failed before they began.

A code server that can start no run fails each at once, and without a pause a sensor would lose one
with every tick. Which runs there were is read in orchestration/runs/history.py.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeVar

FIRST_PAUSE_SECONDS = 5.0
LONGEST_PAUSE_SECONDS = 300.0
_LONGEST_PAUSE_OF_ALL_SECONDS = 60.0
_SUSPECT = 2
"""After more runs in a row that were lost, whatever they were for, it is not their own fault."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended.

    Attributes:
        name: of its work, such as (job, partition key).
        ended_at: seconds since 1970.
        is_lost: whether it failed before it began.
    """

    name: Hashable
    ended_at: float
    is_lost: bool


def lost_names(ended: Iterable[EndedRun]) -> set[Hashable]:
    """Return the names whose newest run was lost; `ended` has the newest first."""
    newest: dict[Hashable, bool] = {}
    for run in ended:
        newest.setdefault(run.name, run.is_lost)
    return {name for name, is_lost in newest.items() if is_lost}


def startable(names: Iterable[Name], ended: Sequence[EndedRun], now: float) -> list[Name]:
    """Return the names that may get a run now, in the given order.

    Each name waits 5 s after its first lost run, then twice as long each time, up to 5 minutes.
    While no run begins at all, one is tried at a time, at least once a minute.

    Args:
        names: of the work that needs a run.
        ended: the runs that ended lately, the newest first.
        now: seconds since 1970.
    """
    num_lost: Counter[Hashable] = Counter()
    lost_at: dict[Hashable, float] = {}
    began = set()
    for run in ended:
        if not run.is_lost:
            began.add(run.name)
        elif run.name not in began:
            num_lost[run.name] += 1
            lost_at.setdefault(run.name, run.ended_at)
    free = [
        name
        for name in names
        if now - lost_at.get(name, 0.0) >= _pause(num_lost[name], LONGEST_PAUSE_SECONDS)
    ]
    num_in_a_row = len(list(takewhile(lambda run: run.is_lost, ended)))
    if num_in_a_row <= _SUSPECT:
        return free
    pause = _pause(num_in_a_row - _SUSPECT, _LONGEST_PAUSE_OF_ALL_SECONDS)
    return free[:1] if now - ended[0].ended_at >= pause else []


def _pause(num_lost: int, longest_seconds: float) -> float:
    if num_lost == 0:
        return 0.0
    return float(min(FIRST_PAUSE_SECONDS * 2 ** (num_lost - 1), longest_seconds))
