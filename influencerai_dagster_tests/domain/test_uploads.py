"""When a dataset whose uploads changed is scanned."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.domain.keys import DatasetKey
from influencerai_dagster.domain.uploads import UploadState, decide, share_out

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
BELLA = DatasetKey("demo", "bella")
ANNA = DatasetKey("demo", "anna")


def state(fingerprint: str, seconds_ago: float) -> UploadState:
    return UploadState(fingerprint, NOW - timedelta(seconds=seconds_ago))


def test_a_new_dataset_is_ready_once_it_was_quiet_long_enough() -> None:
    for seconds_ago, is_ready in ((0, False), (29.9, False), (30, True), (1e6, True)):
        decision = decide({BELLA: state("v1", seconds_ago)}, {}, now=NOW, settle_seconds=30)
        assert (BELLA in decision.ready) is is_ready
        assert (BELLA in decision.settling) is not is_ready


def test_a_dataset_that_was_seen_is_left_alone_until_it_changes() -> None:
    seen = {"demo/bella": "v1"}
    assert decide({BELLA: state("v1", 99)}, seen, now=NOW, settle_seconds=30).ready == {}
    changed = decide({BELLA: state("v2", 99)}, seen, now=NOW, settle_seconds=30)
    assert changed.ready == {BELLA: "v2"}


def test_a_dataset_that_disappeared_is_neither_ready_nor_settling() -> None:
    decision = decide({}, {"demo/bella": "v1"}, now=NOW, settle_seconds=30)
    assert (decision.ready, decision.settling) == ({}, ())


def test_a_dataset_that_came_back_as_it_was_is_not_scanned_again() -> None:
    seen = {"demo/bella": "v1"}
    assert not decide({BELLA: state("v1", 0)}, seen, now=NOW, settle_seconds=30).settling


def test_one_dataset_that_settles_does_not_hold_up_another() -> None:
    listed = {BELLA: state("v1", 99), ANNA: state("v1", 1)}
    decision = decide(listed, {}, now=NOW, settle_seconds=30)
    assert decision.ready == {BELLA: "v1"}
    assert decision.settling == (ANNA,)


def test_without_a_quiet_time_a_change_is_ready_at_once() -> None:
    assert decide({BELLA: state("v1", 0)}, {}, now=NOW, settle_seconds=0).ready == {BELLA: "v1"}


def test_a_server_whose_clock_is_ahead_delays_but_does_not_break() -> None:
    decision = decide({BELLA: state("v1", -5)}, {}, now=NOW, settle_seconds=0)
    assert decision.settling == (BELLA,)


@given(
    st.dictionaries(
        st.sampled_from([DatasetKey("demo", f"d{number}") for number in range(6)]),
        st.builds(state, st.sampled_from(["v1", "v2"]), st.integers(0, 60)),
    ),
    st.dictionaries(
        st.sampled_from([f"demo/d{number}" for number in range(6)]), st.sampled_from(["v1", "v2"])
    ),
    st.integers(0, 60),
)
def test_every_changed_dataset_is_either_ready_or_settling(
    listed: dict[DatasetKey, UploadState], seen: dict[str, str], settle_seconds: int
) -> None:
    decision = decide(listed, seen, now=NOW, settle_seconds=settle_seconds)
    changed = {key for key, item in listed.items() if seen.get(str(key)) != item.fingerprint}
    assert set(decision.ready) | set(decision.settling) == changed
    assert not set(decision.ready) & set(decision.settling)
    for key, fingerprint in decision.ready.items():
        assert listed[key].fingerprint == fingerprint
        assert NOW - listed[key].changed_at >= timedelta(seconds=settle_seconds)


@pytest.mark.timeout(20)
def test_thousands_of_datasets_are_decided_at_once() -> None:
    listed = {
        DatasetKey("demo", f"d{number}"): state("v1", number % 60) for number in range(10_000)
    }
    started = time.perf_counter()
    decision = decide(listed, {}, now=NOW, settle_seconds=30)
    assert len(decision.ready) + len(decision.settling) == 10_000
    assert time.perf_counter() - started < 2


def test_tenants_take_turns_in_the_order_of_what_they_have_already() -> None:
    ready = [DatasetKey("flood", f"d{number}") for number in range(5)] + [BELLA, ANNA]
    assert share_out(ready, {}, max_alive=5) == [
        DatasetKey("flood", "d0"),
        BELLA,
        DatasetKey("flood", "d1"),
        ANNA,
        DatasetKey("flood", "d2"),
    ]
    assert share_out(ready, {"flood": 3}, max_alive=6) == [BELLA, ANNA, ready[0]]
    assert share_out(ready, {"flood": 9}, max_alive=6) == []
