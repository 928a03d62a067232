"""Which reasons of failed jobs are true: each has to fit a fault that really happened to the job.

It has to have happened while the job was there, to the very worker or server that the text names.
A passing outage of S3 or PostgreSQL is not a reason for a job to fail, and nothing explains a text
that is not listed.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from influencerai_dagster_tests.chaos.faults import Injected
from influencerai_dagster_tests.chaos.scenario import BAD_SAMPLER, Action

_KILLED = {Action.KILL_COMFYUI, Action.REPLACE_HUNG_COMFYUI}
_HUNG = {Action.HANG_COMFYUI, Action.REPLACE_HUNG_COMFYUI}


@dataclass(frozen=True)
class Reason:
    """A kind of failure.

    Attributes:
        name: for reports.
        pattern: found in the job's error.
        causes: faults that explain it; None if the submission itself does.
        is_named: the text names the worker or the server to which it happened.
    """

    name: str
    pattern: str
    causes: frozenset[Action] | None
    is_named: bool = True


REASONS = (
    Reason("asked for what cannot be made", BAD_SAMPLER, None),
    Reason(
        "its worker died",
        r"worker \S+ stalled in attempt",
        frozenset({Action.KILL_WORKER, Action.STOP_WORKER}),
    ),
    Reason("GPU out of memory", r"OutOfMemoryError", frozenset({Action.OUT_OF_MEMORY})),
    Reason(
        "output file lost",
        r"reported \w+ file .* but does not have it",
        frozenset({Action.LOSE_OUTPUT}),
    ),
    Reason("ComfyUI lost the prompt", r"lost prompt", frozenset(_KILLED)),
    Reason("ComfyUI hung", r"executes nothing|did not end within its time limit", frozenset(_HUNG)),
    Reason(
        "its render was interrupted",
        r"was interrupted on ComfyUI",
        frozenset({Action.STOP_WORKER}),
        is_named=False,
    ),
    Reason("ComfyUI answered 500", r"http://127\S+: 50\d ", frozenset({Action.ANSWER_500})),
    Reason(
        "ComfyUI could not be reached",
        r"Does ComfyUI run there|no answer in time|progress socket",
        frozenset({*_KILLED, Action.REFUSE_COMFYUI, Action.LOSE_ANSWER, Action.DROP_SOCKETS}),
    ),
)


def reason_of(error: str) -> Reason | None:
    """Return the kind of a failure; None for one that no fault explains."""
    return next((reason for reason in REASONS if re.search(reason.pattern, error)), None)


def untruth(
    error: str,
    created_at: datetime,
    finished_at: datetime,
    injected: Sequence[Injected],
    *,
    is_bad: bool,
) -> str | None:
    """Say why the reason of a failed job is not true; None if it is.

    Args:
        is_bad: the submission asked for what cannot be made.
    """
    reason = reason_of(error)
    if reason is None:
        return "nothing that was injected explains it"
    if reason.causes is None:
        return None if is_bad else "the submission was fine"
    first, last = created_at.timestamp(), finished_at.timestamp()
    for item in injected:
        is_meant = not reason.is_named or re.search(rf"{re.escape(item.target)}\b", error)
        if item.action in reason.causes and is_meant and item.overlaps(first, last):
            return None
    return f"nothing of that kind ({reason.name}) happened to what it names"
