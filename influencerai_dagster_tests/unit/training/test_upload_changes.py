"""Uploads that changed: found in a listing, scanned once they are quiet."""

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.storage.contents import ObjectSummary
from influencerai_dagster.training.upload_changes import (
    Sighting,
    decide,
    seconds_to_next_listing,
    share_out,
    uploads_by_dataset,
    uploads_fingerprint,
)

NOW = 1_800_000_000.0
BELLA = DatasetKey("demo", "bella")
ANNA = DatasetKey("demo", "anna")


def test_uploads_are_ready_once_we_saw_them_unchanged_long_enough() -> None:
    first = decide({BELLA: "v1"}, {}, {}, now=NOW, settle_seconds=30)
    assert (first.ready, first.settling) == ({}, (BELLA,))
    assert first.sightings == {"demo/bella": Sighting("v1", NOW)}
    for seconds, is_ready in ((29.9, False), (30, True), (1e6, True)):
        later = decide({BELLA: "v1"}, {}, first.sightings, now=NOW + seconds, settle_seconds=30)
        assert (BELLA in later.ready) is is_ready
        assert (BELLA in later.settling) is not is_ready
        assert later.sightings == first.sightings, "the quiet time goes on, it does not begin again"


def test_another_upload_begins_the_quiet_time_again() -> None:
    earlier = {"demo/bella": Sighting("v1", NOW - 25)}
    decision = decide({BELLA: "v2"}, {}, earlier, now=NOW, settle_seconds=30)
    assert decision.settling == (BELLA,)
    assert decision.sightings == {"demo/bella": Sighting("v2", NOW)}


def test_a_dataset_that_was_seen_is_left_alone_until_it_changes() -> None:
    seen = {"demo/bella": "v1"}
    quiet = decide({BELLA: "v1"}, seen, {}, now=NOW, settle_seconds=0)
    assert (quiet.ready, quiet.settling, quiet.sightings) == ({}, (), {})
    assert decide({BELLA: "v2"}, seen, {}, now=NOW, settle_seconds=0).ready == {BELLA: "v2"}


def test_a_dataset_that_disappeared_is_forgotten() -> None:
    earlier = {"demo/bella": Sighting("v2", NOW - 99)}
    decision = decide({}, {"demo/bella": "v1"}, earlier, now=NOW, settle_seconds=30)
    assert (decision.ready, decision.settling, decision.sightings) == ({}, (), {})


def test_one_dataset_that_settles_does_not_hold_up_another() -> None:
    earlier = {"demo/bella": Sighting("v1", NOW - 30), "demo/anna": Sighting("v1", NOW - 1)}
    decision = decide({BELLA: "v1", ANNA: "v1"}, {}, earlier, now=NOW, settle_seconds=30)
    assert decision.ready == {BELLA: "v1"}
    assert decision.settling == (ANNA,)


def test_without_a_quiet_time_a_change_is_ready_at_once() -> None:
    assert decide({BELLA: "v1"}, {}, {}, now=NOW, settle_seconds=0).ready == {BELLA: "v1"}


def test_our_own_clock_set_back_costs_one_quiet_time_and_no_more() -> None:
    ahead = {"demo/bella": Sighting("v1", NOW + 10 * 365 * 86_400)}
    first = decide({BELLA: "v1"}, {}, ahead, now=NOW, settle_seconds=30)
    assert first.settling == (BELLA,)
    second = decide({BELLA: "v1"}, {}, first.sightings, now=NOW + 30, settle_seconds=30)
    assert second.ready == {BELLA: "v1"}


FINGERPRINTS = st.sampled_from(["v1", "v2"])
NAMES = [f"d{number}" for number in range(6)]


@given(
    st.dictionaries(st.sampled_from([DatasetKey("demo", name) for name in NAMES]), FINGERPRINTS),
    st.dictionaries(st.sampled_from([f"demo/{name}" for name in NAMES]), FINGERPRINTS),
    st.dictionaries(
        st.sampled_from([f"demo/{name}" for name in NAMES]),
        st.builds(Sighting, FINGERPRINTS, st.floats(NOW - 100, NOW + 100)),
    ),
    st.integers(0, 60),
)
def test_every_changed_dataset_is_either_ready_or_settling(
    listed: dict[DatasetKey, str],
    seen: dict[str, str],
    sightings: dict[str, Sighting],
    settle_seconds: int,
) -> None:
    decision = decide(listed, seen, sightings, now=NOW, settle_seconds=settle_seconds)
    changed = {key for key, fingerprint in listed.items() if seen.get(str(key)) != fingerprint}
    assert set(decision.ready) | set(decision.settling) == changed
    assert not set(decision.ready) & set(decision.settling)
    assert set(decision.sightings) == {str(key) for key in changed}
    for key, fingerprint in decision.ready.items():
        assert listed[key] == fingerprint
    assert all(item.since <= NOW for item in decision.sightings.values())


@pytest.mark.timeout(20)
def test_thousands_of_datasets_are_decided_at_once() -> None:
    listed = {DatasetKey("demo", f"d{number}"): "v1" for number in range(10_000)}
    started = time.perf_counter()
    decision = decide(listed, {}, {}, now=NOW, settle_seconds=30)
    assert len(decision.settling) == 10_000
    assert time.perf_counter() - started < 2


def test_tenants_alternate_in_the_order_of_what_they_have_already() -> None:
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


def info(key: str, etag: str = "e", size_bytes: int = 1) -> ObjectSummary:
    return ObjectSummary(key, size_bytes, etag, datetime(2026, 11, 23, tzinfo=UTC))


def test_a_listing_is_grouped_by_dataset_without_other_objects() -> None:
    keys = [
        *("datasets/demo/bella/images/a.jpg", "datasets/demo/bella/manifest.json"),
        *("datasets/demo/anna/images/a.jpg", "datasets/../x/images/a.jpg", "loras/demo/a.json"),
        *("datasets/demo/bella/images/", "datasets/Demo/bella/images/a.jpg"),
    ]
    groups = uploads_by_dataset(info(key) for key in keys)
    assert {str(key): len(infos) for key, infos in groups.items()} == {
        "demo/bella": 1,
        "demo/anna": 1,
    }


def test_the_fingerprint_of_uploads_changes_when_one_comes_goes_or_is_replaced() -> None:
    listed = [info("a"), info("b")]
    before = uploads_fingerprint(listed)
    assert uploads_fingerprint(reversed(listed)) == before
    others = [[info("a")], [*listed, info("c")], [info("a"), info("b", etag="f")]]
    assert before not in {uploads_fingerprint(other) for other in others}


@pytest.mark.parametrize(
    ("quiet_seconds", "pause_seconds"),
    [(0, 0), (49, 0), (50, 5), (120, 12), (300, 30), (1e6, 30)],
)
def test_a_quiet_bucket_is_listed_less_often(quiet_seconds: float, pause_seconds: float) -> None:
    left = seconds_to_next_listing(NOW, listed_at=NOW, changed_at=NOW - quiet_seconds)
    assert left == pytest.approx(pause_seconds)
    later = seconds_to_next_listing(NOW + 31, listed_at=NOW, changed_at=NOW - quiet_seconds)
    assert later <= 0


def test_a_clock_that_was_set_back_does_not_keep_uploads_waiting() -> None:
    assert seconds_to_next_listing(NOW - 3600, listed_at=NOW, changed_at=NOW - 7200) == 0
