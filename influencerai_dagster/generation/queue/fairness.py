"""Decide which tenant renders next: start-time fair queueing of GPU-seconds over all servers.

Only rules are here; generation/queue/scheduling.py reads rows and clocks. Every tenant has a
virtual clock, which each of its renders advances by its seconds ÷ the tenant's weight. The tenant
whose next job would start at the lowest virtual time is served first. A tenant that comes back from
a pause starts at the clock of those who were served meanwhile: it neither catches up on the past
nor waits behind it. A claim is charged with the tenant's mean render time, and corrected when the
real time is known.
Source: Goyal, Vin, Cheng, "Start-time Fair Queueing" (SIGCOMM 1996).
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

DEFAULT_RENDER_SECONDS = 1.0
"""Charge of a render before the first one of its kind was measured."""

MIN_DEPTH, MAX_DEPTH = 2, 8
_QUEUED_SECONDS = 0.25
NEWEST_SHARE = 0.2
"""How much the newest render time moves the mean of a tenant's renders."""


@dataclass(frozen=True)
class Share:
    """A tenant's part of the GPUs, in virtual seconds.

    Attributes:
        finish_tag: virtual time at which all its claims are paid for.
        render_seconds: expected time of one of its renders.
    """

    tenant: str
    finish_tag: float = 0.0
    weight: float = 1.0
    render_seconds: float = DEFAULT_RENDER_SECONDS

    @property
    def cost(self) -> float:
        """By how much one render advances its virtual clock."""
        return self.render_seconds / self.weight


@dataclass(frozen=True)
class Contender:
    """A worker that could use slots now.

    Attributes:
        owner: of its leases.
        num_wanted: jobs that it could start at once.
    """

    owner: str
    share: Share
    num_wanted: int


@dataclass
class ServerLoad:
    """The jobs of one usable server.

    Attributes:
        url: its address without credentials.
        queue_length: prompts in its own queue, also foreign ones.
        tenants: one entry for each of its jobs in the job queue.
        newest: the `affinity` of its newest job.
        newest_at: when that job was claimed. A slot became free then, so the current render started
            about then. Any clock in seconds.
    """

    url: str
    queue_length: int = 0
    tenants: list[str] = field(default_factory=list)
    newest: str | None = None
    newest_at: float = 0.0

    @property
    def load(self) -> int:
        """How many prompts a new one waits for, by both counts."""
        return max(self.queue_length, len(self.tenants))


@dataclass(frozen=True)
class Slot:
    """A position in a server's queue.

    Attributes:
        num_ahead: how many prompts it waits for.
        is_front: before the prompts that wait there already.
    """

    url: str
    num_ahead: int = 0
    is_front: bool = False


def depth(render_seconds: float) -> int:
    """Return how many jobs a server has at once, the running one included.

    At least one waits, so that the server is never idle; of very short renders, as many as take a
    quarter of a second.
    """
    waiting = math.ceil(_QUEUED_SECONDS / max(render_seconds, 1e-3))
    return min(max(1 + waiting, MIN_DEPTH), MAX_DEPTH)


def allot(
    me: Contender, others: Sequence[Contender], servers: Sequence[ServerLoad], now: float
) -> list[Slot]:
    """Return the slots that a worker may take now; the other free slots are for other workers.

    Free slots go one by one to the tenant whose next job would start first. A tenant without a job
    on any server, that used less than its share so far, need not wait for a free slot: its job goes
    to the front of a queue, one at a time for each server.

    Example: two servers, each with 1 of 2 jobs, so 2 free slots; `now` is 10; a render takes 1 s.
    Tenant a wants 5 jobs, its finish_tag is 12; tenant b wants 1, its finish_tag is 4. The starts
    are a: max(10, 12) = 12, b: max(10, 4) = 10. The first slot is b's, all that b wants. The second
    is a's, whose start becomes 13. So a worker of a gets 1 slot now, and a worker of b gets 1. With
    no free slot, b (4 <= 10, no job anywhere) would go to the front of a queue, and a would wait.

    Args:
        me: the worker that claims.
        others: the other live workers that want slots.
        servers: the usable ones.
        now: virtual time: the start of the newest claimed job of all tenants.
    """
    wanting = [item for item in (me, *others) if item.num_wanted] or [me]
    # As deep as for the slowest renders: quick ones would fill the queues before its first slot.
    max_depth = min(depth(item.share.render_seconds) for item in wanting)
    free = _free_slots(servers, max_depth)
    slots = free[: _number_for(me, others, len(free), now)]
    is_light = me.share.finish_tag <= now and not any(
        me.share.tenant in server.tenants for server in servers
    )
    if slots or not is_light or not me.num_wanted:
        return slots
    full = [server for server in servers if len(server.tenants) <= max_depth]
    return [_front_slot(full, servers)] if full else []


def _front_slot(full: Sequence[ServerLoad], servers: Sequence[ServerLoad]) -> Slot:
    """Choose the queue that a light tenant's job goes to the front of.

    Best is one without the only job of another tenant, because the newest front prompt runs first:
    that job could be overtaken again and again. Among those, the least loaded one, then the one
    whose render started first.
    """
    num_jobs = Counter(tenant for server in servers for tenant in server.tenants)

    def rank(server: ServerLoad) -> tuple[int, int, float]:
        num_only_jobs = sum(num_jobs[tenant] == 1 for tenant in server.tenants)
        return num_only_jobs, server.load, server.newest_at

    return Slot(min(full, key=rank).url, num_ahead=1, is_front=True)


def _free_slots(servers: Sequence[ServerLoad], max_depth: int) -> list[Slot]:
    """List free slots, the least loaded server first, as if they were filled one by one."""
    slots = [
        Slot(server.url, server.load + number)
        for server in servers
        for number in range(max_depth - len(server.tenants))
    ]
    return sorted(slots, key=lambda slot: slot.num_ahead)


def _number_for(me: Contender, others: Sequence[Contender], num_free: int, now: float) -> int:
    """Deal free slots out in order of virtual start; return how many `me` gets, see `allot`."""
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
    """Name the models that a job needs: a server that has them loaded need not load again."""
    return "/".join((tenant, base_model or "", *sorted(lora_datasets)))


def assign(
    slots: Sequence[Slot], wanted: Sequence[str], servers: Sequence[ServerLoad]
) -> list[Slot]:
    """Give each job one of the allotted slots: of the next ones, one that has its models loaded.

    No job waits longer for it: only slots with as many prompts ahead are exchanged.

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
