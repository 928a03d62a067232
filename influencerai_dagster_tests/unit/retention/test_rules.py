"""What is deleted when: nothing inside the window, on hold or exempt, whatever happens."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.backup.objects.history import still_missing
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.object_paths import day_manifest_key
from influencerai_dagster.core.recovery_window import SAFETY_MARGIN, is_past_window
from influencerai_dagster.retention.rules import (
    DayPartitions,
    Decision,
    JobOutputFacts,
    RetentionAction,
    RetentionContext,
    TenantRetention,
    decide,
    folder_file,
    is_day_over,
)

NOW = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
DAY = timedelta(days=1)
JOB = UUID(int=7)
WINDOW = 30 * DAY
DEFAULT = TenantRetention(90)
PNG = f"images/demo/{JOB}/output.png"
EXEMPT = [
    "loras/demo/lora1.safetensors",
    "datasets/demo/bella/images/img1.jpg",
    "datasets/demo/bella/manifest.json",
    "images/demo/samples-lora1/sample-0.png",
    "images/demo/days/2026-01-01/notes.json",
    "workflows/demo/own.json",
    f"images/../{JOB}/output.png",
    f"images/demo/{JOB}/x/output.png",
    f"other/demo/{JOB}/output.png",
    "",
]

times = st.integers(-600, 200 * 24).map(lambda hours: NOW - timedelta(hours=hours))
names = st.sampled_from(
    ["output.png", "output.json", "output.jpg", "output-2.mp4", "segment-0001.zip", "notes.txt"]
)
facts = st.builds(
    JobOutputFacts,
    finished_at=st.none() | times,
    stem=st.sampled_from([None, "output", "output-2"]),
    made_at=st.none() | times,
    deleted_at=st.none() | times,
    is_on_hold=st.booleans(),
    is_needed=st.booleans(),
)
rules = st.builds(TenantRetention, days=st.integers(1, 400), is_on_hold=st.booleans())


def context(
    job: JobOutputFacts | None = None,
    tenant: TenantRetention | None = DEFAULT,
    tombstone: datetime | None = None,
    key: str = PNG,
    now: datetime = NOW,
) -> RetentionContext:
    return RetentionContext(
        tenants={"demo": tenant} if tenant else {},
        jobs={JOB: job} if job else {},
        tombstones={key: tombstone} if tombstone else {},
        recovery_window=WINDOW,
        now=now,
    )


def done(days_ago: float, **changes: object) -> JobOutputFacts:
    at = NOW - days_ago * DAY
    return replace(JobOutputFacts(finished_at=at, stem="output", made_at=at), **changes)  # type: ignore[arg-type]


@given(names, times, st.none() | facts, st.none() | rules, st.none() | times)
def test_nothing_on_hold_of_an_open_job_or_of_an_unknown_tenant_is_touched(
    name: str,
    last_modified: datetime,
    job: JobOutputFacts | None,
    tenant: TenantRetention | None,
    tombstone: datetime | None,
) -> None:
    key = f"images/demo/{JOB}/{name}"
    action = decide(key, last_modified, context(job, tenant, tombstone, key)).action
    is_held = tenant is None or tenant.is_on_hold or (job is not None and job.is_on_hold)
    if is_held or (job is not None and job.finished_at is None):
        assert action is RetentionAction.KEEP


@given(names, times, st.none() | facts, rules, st.none() | times)
def test_bytes_go_only_when_no_time_of_the_window_names_them(
    name: str,
    last_modified: datetime,
    job: JobOutputFacts | None,
    tenant: TenantRetention,
    tombstone: datetime | None,
) -> None:
    key = f"images/demo/{JOB}/{name}"
    decision = decide(key, last_modified, context(job, tenant, tombstone, key))
    if decision.action is not RetentionAction.REMOVE:
        return
    is_output = job is not None and name.rpartition(".")[0] == job.stem
    gone_at = job.deleted_at if job is not None and is_output else tombstone
    if gone_at is None:  # no catalog ever named it
        assert name.startswith("segment-")
        assert last_modified + DAY < NOW
    else:
        assert gone_at + WINDOW + SAFETY_MARGIN < NOW


@given(names, times, facts, rules)
def test_an_output_is_deleted_only_when_it_is_old_enough_and_not_needed(
    name: str, last_modified: datetime, job: JobOutputFacts, tenant: TenantRetention
) -> None:
    key = f"images/demo/{JOB}/{name}"
    decision = decide(key, last_modified, context(job, tenant))
    if (
        decision.action is RetentionAction.DELETE
        and name.rpartition(".")[0] == job.stem
        and job.made_at
    ):
        assert job.made_at + tenant.days * DAY < NOW
        assert not job.is_needed


@given(st.sampled_from(EXEMPT), times, st.none() | facts, rules, st.none() | times)
def test_loras_datasets_and_all_that_is_not_of_a_job_are_exempt(
    key: str,
    last_modified: datetime,
    job: JobOutputFacts | None,
    tenant: TenantRetention,
    tombstone: datetime | None,
) -> None:
    assert (
        decide(key, last_modified, context(job, tenant, tombstone, key)).action
        is RetentionAction.KEEP
    )
    assert folder_file(key) is None


@dataclass
class World:
    """A bucket and a catalog with one image, as days go by."""

    made_at: datetime
    job: JobOutputFacts
    has_bytes: bool = True
    tombstone: datetime | None = None
    named_until: datetime | None = None


@given(
    st.integers(1, 120),
    st.lists(st.tuples(st.integers(0, 250), st.integers(1, 60)), max_size=3),
    st.lists(st.integers(0, 250), min_size=1, max_size=250, unique=True),
)
def test_a_catalog_of_any_time_within_the_window_finds_its_image(
    retention_days: int, holds: list[tuple[int, int]], runs: list[int]
) -> None:
    """Retention runs on some days, holds come and go; a restore may happen on any day."""
    start = NOW
    world = World(start, JobOutputFacts(finished_at=start, stem="output", made_at=start))
    for number in sorted(runs):
        now = start + number * DAY
        is_held = any(begin <= number < begin + length for begin, length in holds)
        tenant = TenantRetention(retention_days, is_on_hold=is_held)
        decision = decide(PNG, start, context(world.job, tenant, world.tombstone, now=now))
        if decision.action is RetentionAction.DELETE:
            world.job = replace(world.job, deleted_at=now)
            world.tombstone = world.named_until = now
        if decision.action is RetentionAction.REMOVE:
            world.has_bytes = False
        oldest_restorable = now - WINDOW
        is_named = world.named_until is None or oldest_restorable < world.named_until
        assert world.has_bytes or not (is_named or is_held)
        if not world.has_bytes:
            return


LIST_DAY = DayKey("demo", date(2026, 1, 1))
LIST = day_manifest_key("images", LIST_DAY, "0123456789abcdef")


def of_list(
    tenant: TenantRetention | None = DEFAULT,
    tombstone: datetime | None = None,
    days: DayPartitions | None = DayPartitions(kept=frozenset()),  # noqa: B008 - frozen
    now: datetime = NOW,
) -> Decision:
    return decide(LIST, now, replace(context(None, tenant, tombstone, LIST, now), days=days))


partitions = st.builds(
    DayPartitions,
    kept=st.frozensets(st.just(LIST_DAY)),
    ending=st.frozensets(st.just(LIST_DAY)),
)


@given(st.none() | rules, st.none() | times, st.none() | partitions, times)
def test_a_list_goes_only_after_its_day_and_the_window(
    tenant: TenantRetention | None,
    tombstone: datetime | None,
    days: DayPartitions | None,
    now: datetime,
) -> None:
    decision = of_list(tenant, tombstone, days, now)
    if decision.action is RetentionAction.KEEP:
        return
    assert tenant is not None
    assert not tenant.is_on_hold
    assert is_day_over(LIST_DAY.day, tenant, now)
    assert days is not None
    assert LIST_DAY not in days.kept
    if decision.action is RetentionAction.REMOVE:
        assert LIST_DAY not in days.ending
        assert tombstone is not None
        assert tombstone + WINDOW + SAFETY_MARGIN < now


@pytest.mark.parametrize(
    ("decision", "action", "why"),
    [
        (of_list(days=None), RetentionAction.KEEP, "the daily run looks"),
        (of_list(days=DayPartitions(frozenset({LIST_DAY}))), RetentionAction.KEEP, "that is there"),
        (of_list(TenantRetention(400)), RetentionAction.KEEP, "that is there"),
        (of_list(), RetentionAction.DELETE, "whose partition is gone"),
        (of_list(tombstone=NOW - 30 * DAY), RetentionAction.WAIT, "a restore may still ask"),
        (of_list(tombstone=NOW - 32 * DAY), RetentionAction.REMOVE, "window has passed"),
    ],
)
def test_every_action_of_a_list_has_its_reason(
    decision: Decision, action: RetentionAction, why: str
) -> None:
    assert decision.action is action
    assert why in decision.reason


@given(
    st.lists(st.tuples(st.integers(91, 400), st.booleans()), max_size=60, unique_by=lambda x: x[0])
)
def test_dagster_of_any_time_within_the_window_finds_the_lists_of_its_partitions(
    runs: list[tuple[int, bool]],
) -> None:
    """Retention runs on some days; before some runs a job has brought the partition back."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tombstone, gone_at = None, None
    for number, is_back in sorted(runs):
        now = start + number * DAY
        if is_back:
            gone_at = None
        ending = frozenset({LIST_DAY}) if gone_at is None else frozenset()
        decision = of_list(tombstone=tombstone, days=DayPartitions(frozenset(), ending), now=now)
        if decision.action is RetentionAction.DELETE:
            tombstone = now
        gone_at = gone_at or now
        if decision.action is RetentionAction.REMOVE:
            assert gone_at + WINDOW < now
            return


@pytest.mark.parametrize(
    ("key", "job", "action", "why"),
    [
        (PNG, done(89), RetentionAction.KEEP, "younger than 90 days"),
        (PNG, done(91), RetentionAction.DELETE, "older than 90 days"),
        (
            PNG,
            done(91, is_needed=True),
            RetentionAction.KEEP,
            "a video that is not over starts from it",
        ),
        (
            PNG,
            done(130, deleted_at=NOW - 30 * DAY),
            RetentionAction.WAIT,
            "a restore may still ask",
        ),
        (PNG, done(130, deleted_at=NOW - 32 * DAY), RetentionAction.REMOVE, "window has passed"),
        (PNG, None, RetentionAction.DELETE, "no job names it"),
        (PNG, done(3, stem="output-2"), RetentionAction.DELETE, "of a claim that never completed"),
        (PNG, done(0.5, stem="output-2"), RetentionAction.KEEP, "has just ended"),
        (
            f"videos/demo/{JOB}/segment-0001.zip",
            done(3),
            RetentionAction.REMOVE,
            "segment of a video",
        ),
        (f"videos/demo/{JOB}/segment-0001.zip", done(0.5), RetentionAction.KEEP, "has just ended"),
        (
            f"videos/demo/{JOB}/segment-0001-2.zip",
            JobOutputFacts(None),
            RetentionAction.KEEP,
            "is not over",
        ),
        (f"images/demo/{JOB}/notes.txt", done(300), RetentionAction.KEEP, "unknown kind of file"),
    ],
)
def test_every_action_has_its_reason(
    key: str, job: JobOutputFacts | None, action: RetentionAction, why: str
) -> None:
    decision = decide(key, NOW - 95 * DAY, context(job, key=key))
    assert decision.action is action
    assert why in decision.reason


def test_an_output_that_is_named_again_is_kept_though_it_was_deleted_once() -> None:
    named_again = context(done(10), tombstone=NOW - 60 * DAY)
    assert decide(PNG, NOW - 100 * DAY, named_again).action is RetentionAction.KEEP


@given(st.integers(1, 400), st.booleans())
def test_the_partition_of_a_day_stays_for_as_long_as_its_objects(days: int, is_held: bool) -> None:  # noqa: FBT001 - drawn
    tenant = TenantRetention(days, is_on_hold=is_held)
    end = datetime(2026, 11, 24, tzinfo=UTC) + days * DAY
    assert not is_day_over(date(2026, 11, 23), tenant, end)
    assert is_day_over(date(2026, 11, 23), tenant, end + timedelta(seconds=1)) is not is_held
    assert not is_day_over(date(2026, 11, 23), None, end + 400 * DAY)


@given(times, st.integers(1, 60))
def test_what_is_gone_is_kept_for_the_window_and_a_day(gone_at: datetime, days: int) -> None:
    edge = gone_at + days * DAY + SAFETY_MARGIN
    assert not is_past_window(gone_at, days * DAY, edge)
    assert is_past_window(gone_at, days * DAY, edge + timedelta(microseconds=1))


@given(st.dictionaries(st.text(), times), st.sets(st.text()))
def test_the_time_of_a_missing_key_never_starts_again(
    before: dict[str, datetime], missing: set[str]
) -> None:
    after = still_missing(before, missing, NOW)
    assert after.keys() == missing
    assert all(at == before.get(key, NOW) for key, at in after.items())
