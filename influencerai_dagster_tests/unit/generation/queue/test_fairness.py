"""Who renders next: shares of GPU-seconds, simulated over many renders, and single decisions."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.generation.queue.fairness import (
    MAX_DEPTH,
    MIN_DEPTH,
    Contender,
    ServerLoad,
    Share,
    Slot,
    affinity,
    allot,
    assign,
    depth,
)

SERVER = "http://gpu-1"


def contender(tenant: str, *, finish_tag: float = 0.0, num_wanted: int = 10) -> Contender:
    return Contender(f"run of {tenant}", Share(tenant, finish_tag=finish_tag), num_wanted)


def idle(*urls: str) -> list[ServerLoad]:
    return [ServerLoad(url) for url in urls]


def busy(*tenants: str, url: str = SERVER) -> ServerLoad:
    return ServerLoad(url, queue_length=len(tenants), tenants=list(tenants))


class FakeServers:
    """One server that renders one job after the other, claimed as the job queue claims."""

    def __init__(self, seconds: dict[str, float], weights: dict[str, float]) -> None:
        self.shares = {
            tenant: Share(tenant, weight=weights.get(tenant, 1.0), render_seconds=cost)
            for tenant, cost in seconds.items()
        }
        self.clock = 0.0
        self.used: Counter[str] = Counter()

    def render_one(self, wanting: list[str]) -> str:
        contenders = [Contender(name, self.shares[name], 5) for name in wanting]
        for me in contenders:
            others = [item for item in contenders if item is not me]
            load = ServerLoad(SERVER, tenants=["somebody"] * (depth(me.share.render_seconds) - 1))
            if allot(me, others, [load], self.clock):
                share = self.shares[me.owner]
                self.clock = max(self.clock, share.finish_tag)
                paid = self.clock + share.cost
                self.shares[me.owner] = replace(share, finish_tag=paid)
                self.used[me.owner] += share.render_seconds  # type: ignore[assignment] # seconds
                return me.owner
        raise AssertionError("a free slot was given to nobody")


@given(
    seconds=st.lists(st.floats(0.3, 20), min_size=2, max_size=6),
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=6, max_size=6),
)
def test_tenants_share_gpu_seconds_by_weight_whatever_their_renders_take(
    seconds: list[float], weights: list[float]
) -> None:
    names = [f"tenant-{index}" for index in range(len(seconds))]
    servers = FakeServers(
        dict(zip(names, seconds, strict=True)), dict(zip(names, weights, strict=False))
    )
    for _ in range(600):
        servers.render_one(names)
    served = [servers.used[name] / servers.shares[name].weight for name in names]
    # No two differ by more than one render of each: the bound of start-time fair queueing.
    longest = max(share.cost for share in servers.shares.values())
    assert max(served) - min(served) <= 2 * longest + 1e-6


def test_a_tenant_that_was_away_neither_catches_up_nor_waits_behind_the_past() -> None:
    servers = FakeServers({"busy": 1.0, "back": 1.0}, {})
    for _ in range(100):
        servers.render_one(["busy"])
    order = [servers.render_one(["busy", "back"]) for _ in range(20)]
    assert order.count("back") in {10, 11}
    assert "back" in order[:2]


def test_free_slots_go_round_the_least_loaded_servers_first() -> None:
    slots = allot(contender("acme"), [], [busy("acme", url="one"), ServerLoad("two")], now=0.0)
    assert slots == [Slot("two", 0), Slot("one", 1), Slot("two", 1)]


def test_prompts_of_others_on_a_server_make_it_the_second_choice_but_keep_it_in_use() -> None:
    crowded = ServerLoad("crowded", queue_length=9)
    slots = allot(contender("acme", num_wanted=3), [], [crowded, ServerLoad("free")], now=0.0)
    assert slots == [Slot("free", 0), Slot("free", 1), Slot("crowded", 9)]


def test_nobody_gets_a_slot_that_another_has_a_right_to() -> None:
    rich, poor = contender("rich", finish_tag=5.0), contender("poor", finish_tag=1.0, num_wanted=1)
    one_free = [busy("somebody")]
    assert allot(rich, [poor], one_free, now=0.0) == []
    assert allot(poor, [rich], one_free, now=0.0) == [Slot(SERVER, 1)]


def test_what_the_others_do_not_want_is_not_kept_for_them() -> None:
    rich, poor = contender("rich", finish_tag=5.0), contender("poor", finish_tag=1.0, num_wanted=1)
    assert len(allot(rich, [poor], idle("one", "two"), now=0.0)) == 3


def test_a_light_tenant_goes_before_what_waits_when_all_servers_are_full() -> None:
    flood = ["flood", "flood"]
    servers = [busy(*flood, url="one"), busy(*flood, "other", url="two")]
    light, heavy = contender("light", finish_tag=3.0), contender("flood", finish_tag=9.0)
    assert allot(light, [heavy], servers, now=8.0) == [Slot("one", 1, is_front=True)]


@pytest.mark.parametrize(
    ("finish_tag", "tenants", "num_wanted"),
    [
        (9.0, ["flood", "flood"], 1),
        (3.0, ["flood", "light"], 1),
        (3.0, ["flood", "flood", "other"], 1),
        (3.0, ["flood", "flood"], 0),
    ],
    ids=["had its share", "renders already", "one went before already", "wants nothing"],
)
def test_nobody_else_goes_before(finish_tag: float, tenants: list[str], num_wanted: int) -> None:
    me = contender("light", finish_tag=finish_tag, num_wanted=num_wanted)
    assert allot(me, [], [busy(*tenants)], now=8.0) == []


def test_without_a_usable_server_nobody_gets_anything() -> None:
    assert allot(contender("acme"), [], [], now=0.0) == []


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(600.0, MIN_DEPTH), (0.25, 2), (0.1, 4), (0.001, MAX_DEPTH), (0.0, MAX_DEPTH)],
)
def test_at_least_one_job_waits_and_never_more_than_a_moment_of_work(
    seconds: float, expected: int
) -> None:
    assert depth(seconds) == expected


def test_a_job_goes_where_its_lora_is_loaded_if_that_is_among_its_slots() -> None:
    bella, nova = (affinity("acme", [name], None) for name in ("bella", "nova"))
    servers = [ServerLoad("one", newest=nova), ServerLoad("two", newest=bella), ServerLoad("three")]
    slots = [Slot("one"), Slot("two")]
    assert assign(slots, [bella, nova], servers) == [Slot("two"), Slot("one")]
    assert assign(slots, [bella], servers) == [Slot("two")]
    assert assign([Slot("three")], [bella], servers) == [Slot("three")]


def test_no_job_waits_behind_another_for_the_sake_of_its_lora() -> None:
    bella = affinity("acme", ["bella"], None)
    servers = [ServerLoad("warm", newest=bella), ServerLoad("idle")]
    slots = [Slot("idle", 0), Slot("warm", 1)]
    assert assign(slots, [bella], servers) == [Slot("idle", 0)]


@given(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=6),
    st.lists(st.sampled_from("ab"), max_size=6),
)
def test_affinity_never_changes_which_slots_are_used(wanted: list[str], newest: list[str]) -> None:
    servers = [ServerLoad(f"gpu-{index}", newest=name) for index, name in enumerate(newest)]
    servers.append(ServerLoad("gpu"))
    slots = [Slot(servers[index % len(servers)].url) for index in range(len(wanted))]
    assigned = assign(slots, wanted, servers)
    assert Counter(assigned) == Counter(slots)


def test_quick_renders_do_not_fill_the_queues_before_slow_ones_have_a_place() -> None:
    quick = Contender("quick", Share("quick", render_seconds=0.05), 16)
    slow = Contender("slow", Share("slow", render_seconds=2.0), 16)
    alone = allot(quick, [], idle("one"), now=0.0)
    beside = allot(quick, [slow], idle("one"), now=0.0)
    assert (len(alone), len(beside)) == (6, 1)
    full = [busy("quick", "quick", url="one")]
    assert allot(quick, [slow], full, now=0.0) == []
    assert allot(slow, [quick], [busy("quick", url="one")], now=0.0) != []


def test_a_light_tenant_does_not_overtake_the_only_job_of_another_where_it_need_not() -> None:
    servers = [busy("flood", "other", url="sooner"), busy("flood", "flood", url="later")]
    servers[0].newest_at, servers[1].newest_at = 10.0, 20.0
    light, heavy = contender("light", finish_tag=3.0), contender("flood", finish_tag=9.0)
    assert allot(light, [heavy], servers, now=8.0) == [Slot("later", 1, is_front=True)]
    assert allot(light, [heavy], servers[:1], now=8.0) == [Slot("sooner", 1, is_front=True)]


def test_a_light_tenant_goes_where_the_running_render_began_first() -> None:
    servers = [busy("flood", "flood", url="just begun"), busy("flood", "flood", url="nearly done")]
    servers[0].newest_at, servers[1].newest_at = 20.0, 10.0
    light, heavy = contender("light", finish_tag=3.0), contender("flood", finish_tag=9.0)
    assert allot(light, [heavy], servers, now=8.0) == [Slot("nearly done", 1, is_front=True)]
