"""Whose job renders next: start-time fair queueing of GPU-seconds over all ComfyUI servers.

Rows and clocks live in generation/queue/scheduling.py; here are only the rules. Every tenant has a
virtual clock that its renders move on by their seconds ÷ its weight; whose next job would start at
the lowest virtual time is served first. A tenant that comes back from a pause starts at the clock
of those who were served meanwhile: it neither catches up on the past nor waits behind it. A render
is charged with the tenant's mean when it is claimed and corrected when its real time is known.
Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DEFAULT_RENDER_SECONDS = 1.0
"""What a render is charged with while nobody has rendered any of its kind."""

MIN_DEPTH, MAX_DEPTH = 2, 8
_QUEUED_SECONDS = 0.25
NEWEST_SHARE = 0.2
"""How much the newest render time moves the mean of a tenant's renders."""


@dataclass(frozen=True)
class Share:
    """A tenant's part of the GPUs, in virtual seconds.

    Attributes:
        finish_tag: virtual time at which all that it claimed is paid for.
        render_seconds: what one of its renders is expected to take.
    """

    tenant: str
    finish_tag: float = 0.0
    weight: float = 1.0
    render_seconds: float = DEFAULT_RENDER_SECONDS

    @property
    def cost(self) -> float:
        """What one render moves its virtual clock on."""
        return self.render_seconds / self.weight


@dataclass(frozen=True)
class Contender:
    """A worker that could use slots now.

    Attributes:
        owner: who it is.
        num_wanted: jobs that it could start at once.
    """

    owner: str
    share: Share
    num_wanted: int


@dataclass
class ServerLoad:
    """What one usable server has to do.

    Attributes:
        url: its address without credentials.
        queue_length: prompts in its own queue, whoever sent them.
        tenants: whose jobs it has, by the job queue; one entry for each job.
        newest: what its newest job needs loaded, see `affinity`.
        newest_at: when that was claimed, which is when a place became free: the render that runs
            now began about then. Any clock in seconds.
    """

    url: str
    queue_length: int = 0
    tenants: list[str] = field(default_factory=list)
    newest: str | None = None
    newest_at: float = 0.0

    @property
    def load(self) -> int:
        """How many prompts a new one waits for, as far as anybody knows."""
        return max(self.queue_length, len(self.tenants))


@dataclass(frozen=True)
class Slot:
    """A place in a server's queue.

    Attributes:
        num_ahead: how many prompts it waits for.
        is_front: it goes before those that wait there already.
    """

    url: str
    num_ahead: int = 0
    is_front: bool = False


def depth(render_seconds: float) -> int:
    """Return how many jobs a server holds at once, the running one among them.

    At least one waits, so that the server never idles; of very short renders as many as last a
    quarter of a second.
    """
    waiting = math.ceil(_QUEUED_SECONDS / max(render_seconds, 1e-3))
    return min(max(1 + waiting, MIN_DEPTH), MAX_DEPTH)


def allot(
    me: Contender, others: Sequence[Contender], servers: Sequence[ServerLoad], now: float
) -> list[Slot]:
    """Return the slots that a worker may take now; the rest is for those who come before it.

    Free slots go one by one to the tenant whose next job would start first. A tenant that has
    nothing on any server and used less than its share so far need not wait for a free slot: its
    job goes to the front of the least loaded queue, of equals to where the running render began
    first; one at a time for each server.

    Args:
        me: who asks.
        others: the other live workers that want slots.
        servers: the usable ones.
        now: the virtual time of now: the start of the newest claimed job of all tenants.
    """
    wanting = [item for item in (me, *others) if item.num_wanted] or [me]
    # As deep as for the slowest: quick renders would fill the queues before it ever has a place.
    max_depth = min(depth(item.share.render_seconds) for item in wanting)
    free = _free_slots(servers, max_depth)
    slots = free[: _number_for(me, others, len(free), now)]
    is_light = me.share.finish_tag <= now and not any(
        me.share.tenant in server.tenants for server in servers
    )
    if slots or not is_light or not me.num_wanted:
        return slots
    full = [server for server in servers if len(server.tenants) <= max_depth]
    if not full:
        return []
    soonest = min(full, key=lambda server: (server.load, server.newest_at))
    return [Slot(soonest.url, num_ahead=1, is_front=True)]


def _free_slots(servers: Sequence[ServerLoad], max_depth: int) -> list[Slot]:
    """List free places, the least loaded server first, as if each were filled in turn."""
    places = [
        Slot(server.url, server.load + number)
        for server in servers
        for number in range(max_depth - len(server.tenants))
    ]
    return sorted(places, key=lambda slot: slot.num_ahead)


def _number_for(me: Contender, others: Sequence[Contender], num_free: int, now: float) -> int:
    """Deal free slots out in order of virtual start; return how many the asking worker gets."""
    contenders = [item for item in (me, *others) if item.num_wanted > 0]
    left = {item.owner: item.num_wanted for item in contenders}
    starts = {item.share.tenant: max(now, item.share.finish_tag) for item in contenders}
    dealt: Counter[str] = Counter()
    for _ in range(num_free):
        waiting = [item for item in contenders if left[item.owner]]
        if not waiting:
            break
        first = min(waiting, key=lambda item: (starts[item.share.tenant], item.owner))
        starts[first.share.tenant] += first.share.cost
        left[first.owner] -= 1
        dealt[first.owner] += 1
    return dealt[me.owner]


def affinity(tenant: str, lora_datasets: Iterable[str], base_model: str | None) -> str:
    """Name what a job needs loaded: servers that have it need no reload."""
    return "/".join((tenant, base_model or "", *sorted(lora_datasets)))


def assign(
    slots: Sequence[Slot], wanted: Sequence[str], servers: Sequence[ServerLoad]
) -> list[Slot]:
    """Give each job one of the allotted slots: of those that come next, one that has its models.

    Nobody waits longer for it: only slots with as many prompts ahead are exchanged.

    Args:
        slots: at least as many as jobs.
        wanted: the `affinity` of each job, in order.
        servers: where the slots are.
    """
    newest = {server.url: server.newest for server in servers}
    left = list(slots)
    assigned = []
    for name in wanted:
        equal = [item for item in left if item.num_ahead == left[0].num_ahead]
        slot = next((item for item in equal if newest[item.url] == name), left[0])
        left.remove(slot)
        newest[slot.url] = name
        assigned.append(slot)
    return assigned
