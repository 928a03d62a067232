"""Read from the journals of the simulated ComfyUI servers what they rendered, and what was wasted.

The rule: no job is rendered again while an earlier render of it can still be fetched. A prompt of a
job was needless if, when it was posted, an earlier claim's prompt

- had ended in success on a server that has not restarted since, still had its file and could be
  reached (a server that is killed, refuses or answers 500 cannot); or
- was in the queue of such a server, did run to success there, and nothing hung.

Not needless: a prompt of a claim that had lost its lease (its worker was frozen between its look at
the servers and its post; nobody can fence ComfyUI off), and one that was posted within moments of
the other, which is the same thing seen from the other workers. A prompt that no server began to
execute cost nothing and does not count.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from uuid import UUID

from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster_tests.chaos.dispatcher import LEASE_SECONDS
from influencerai_dagster_tests.chaos.faults import Injected
from influencerai_dagster_tests.chaos.scenario import Action

LOOK_SECONDS = LEASE_SECONDS
"""How long before its post a worker may have looked for earlier renders: the time of a lease."""

_RACE_SECONDS = 2.0
_UNREACHABLE = {
    Action.KILL_COMFYUI,
    Action.REPLACE_HUNG_COMFYUI,
    Action.REFUSE_COMFYUI,
    Action.ANSWER_500,
}
_HUNG = {Action.HANG_COMFYUI, Action.REPLACE_HUNG_COMFYUI}
_SUCCESS = "execution_success"


@dataclass
class Render:
    """One posted prompt on one server; times are time.time(), infinite if it never happened.

    Attributes:
        died: when this life of the server ended.
    """

    prompt_id: str
    server: int
    posted: float
    executed: float = math.inf
    finished: float = math.inf
    died: float = math.inf
    is_success: bool = False
    is_lost: bool = False


@dataclass(frozen=True)
class Needless:
    """A render of a job that an earlier one made needless."""

    job_id: UUID
    claim: int
    earlier_claim: int
    was_finished: bool

    def __str__(self) -> str:
        was = "was there to be fetched" if self.was_finished else "was still being made"
        return (
            f"job {self.job_id}: claim {self.claim} was rendered although the render of claim "
            f"{self.earlier_claim} {was}"
        )


def read_journal(path: Path, server: int) -> list[Render]:
    """Return what one server did, over all its lives."""
    lives: list[dict[str, Render]] = []
    renders: list[Render] = []
    starts: list[float] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        item = json.loads(line)
        name, moment = item["prompt_id"], item["time"]
        if item["event"] == "started":
            starts.append(moment)
            lives.append({})
        elif item["event"] == "posted":
            lives[-1][name] = Render(name, server, posted=moment)
            renders.append(lives[-1][name])
        elif item["event"] == "executed":
            lives[-1][name].executed = moment
        elif item["event"] == "lost":
            lives[-1][name].is_lost = True
        elif item["event"] == "finished":
            lives[-1][name].finished = moment
            lives[-1][name].is_success = item["outcome"] == _SUCCESS
    for life, (_, next_start) in zip(lives, pairwise(starts), strict=False):
        for render in life.values():
            render.died = next_start
    return renders


def renders_of_jobs(
    renders: Iterable[Render], last_claims: Mapping[UUID, int]
) -> dict[UUID, list[tuple[int, Render]]]:
    """Return the executed prompts of each job with their claims, in order of their posts.

    Args:
        last_claims: how often each job was claimed.
    """
    owners = {
        prompt_id(job_id, claim): (job_id, claim)
        for job_id, last in last_claims.items()
        for claim in range(1, last + 1)
    }
    found: defaultdict[UUID, list[tuple[int, Render]]] = defaultdict(list)
    for render in sorted(renders, key=lambda item: item.posted):
        if render.prompt_id in owners and render.executed < math.inf:
            job_id, claim = owners[render.prompt_id]
            found[job_id].append((claim, render))
    return found


def needless_renders(
    renders: Mapping[UUID, Sequence[tuple[int, Render]]], injected: Sequence[Injected]
) -> list[Needless]:
    """Return every render that need not have been, by the rule of this module."""
    return [
        Needless(job_id, claim, earlier_claim, earlier.finished < render.posted)
        for job_id, claims in renders.items()
        for index, (claim, render) in enumerate(claims)
        for earlier_claim, earlier in claims[:index]
        if earlier_claim <= claim and excuse(render, earlier, injected) is None
    ]


def excuses(
    renders: Mapping[UUID, Sequence[tuple[int, Render]]], injected: Sequence[Injected]
) -> list[str]:
    """Return for every job that was rendered again why its render before could not be used."""
    return [
        "a later claim had begun"
        if claim > later_claim
        else excuse(later, earlier, injected) or "nothing excuses it"
        for claims in renders.values()
        for (claim, earlier), (later_claim, later) in pairwise(claims)
    ]


def excuse(render: Render, earlier: Render, injected: Sequence[Injected]) -> str | None:
    """Say why an earlier render could not be used; None if it could."""
    first, last = render.posted - LOOK_SECONDS, render.posted
    is_hung = _was_broken(injected, earlier.server, _HUNG, first, last)
    reasons = (
        (earlier.died <= last, "its server had restarted"),
        (not earlier.is_success and earlier.died < math.inf, "its server restarted"),
        (not earlier.is_success, "it failed or was stopped"),
        (earlier.is_lost, "its file was lost"),
        (last - earlier.posted < _RACE_SECONDS, "both were posted at the same moment"),
        (
            _was_broken(injected, earlier.server, _UNREACHABLE, first, last),
            "its server could not be reached",
        ),
        (earlier.finished > last and is_hung, "its server hung"),
    )
    return next((text for applies, text in reasons if applies), None)


def _was_broken(
    injected: Sequence[Injected], server: int, actions: set[Action], first: float, last: float
) -> bool:
    return any(
        fault.server == server and fault.action in actions and fault.overlaps(first, last)
        for fault in injected
    )
