"""The one way in: dicts as run configs hold them become jobs, all of them or none."""

from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.queue import Job, TooManyPendingJobsError
from influencerai_dagster.generation.submission import JobSubmitter
from influencerai_dagster_tests.testing.jobs import TODAY

IMAGE = {"prompt": "bella"}


def order(
    engine: Engine,
    *jobs: dict[str, Any],
    kind: JobKind = JobKind.IMAGE,
    day: DayKey = TODAY,
    key_prefix: str | None = "run",
    max_pending: int = 100,
) -> list[Job]:
    return JobSubmitter(engine, max_pending).submit(kind, day, jobs, key_prefix=key_prefix)


def count(engine: Engine) -> int:
    with transaction(engine) as session:
        return sum(job_queue.count_by_status(session).values())


def test_jobs_without_a_key_get_one_by_their_place(engine: Engine) -> None:
    jobs = order(engine, IMAGE, {**IMAGE, "idempotency_key": "mine"}, IMAGE)
    assert [job.idempotency_key for job in jobs] == ["run/0", "mine", "run/2"]


def test_the_same_list_again_is_the_same_jobs(engine: Engine) -> None:
    assert order(engine, IMAGE, IMAGE) == order(engine, IMAGE, IMAGE)
    assert count(engine) == 2


def test_without_a_prefix_every_list_is_new_jobs(engine: Engine) -> None:
    first = order(engine, IMAGE, key_prefix=None)
    second = order(engine, IMAGE, key_prefix=None)
    assert first[0].id != second[0].id
    assert first[0].idempotency_key is None


def test_priority_and_kind_are_taken_from_the_job(engine: Engine) -> None:
    first, second, third = order(
        engine,
        {**IMAGE, "priority": 9, "kind": "image"},
        {**IMAGE, "priority": 0},
        {**IMAGE, "priority": None, "idempotency_key": None},
    )
    assert (first.priority, second.priority, third.priority) == (9, 0, 5)
    assert third.idempotency_key == "run/2"


def test_a_video_is_submitted_the_same_way(engine: Engine) -> None:
    (image,) = order(engine, IMAGE)
    video = {"source_job_id": str(image.id)}
    (job,) = order(engine, video, kind=JobKind.VIDEO, key_prefix="videos")
    assert (job.kind, job.depends_on) == (JobKind.VIDEO, image.id)


@pytest.mark.parametrize(
    ("job", "says"),
    [
        pytest.param({}, "prompt: Field required", id="nothing"),
        pytest.param(
            {**IMAGE, "widht_px": 64},
            "widht_px is not .*width_px",
            id="unknown field",
        ),
        pytest.param({**IMAGE, "width_px": 13}, r"width_px: .* \(found 13\)", id="bad field"),
        pytest.param({**IMAGE, "priority": 10}, "priority: .* less than or equal", id="priority"),
        pytest.param({**IMAGE, "priority": -1}, "priority: .* greater than", id="low priority"),
        pytest.param({**IMAGE, "idempotency_key": ""}, "idempotency_key: .* 1 char", id="no key"),
        pytest.param(
            {**IMAGE, "idempotency_key": "k" * 201}, "idempotency_key: .* 200", id="long key"
        ),
        pytest.param({**IMAGE, "loras": [{}]}, "loras.0.dataset: Field required", id="nested"),
        pytest.param({**IMAGE, "kind": "video"}, "kind: these are image jobs", id="other kind"),
    ],
)
def test_a_job_that_cannot_be_used_is_named_with_its_field_and_none_is_taken(
    engine: Engine, job: dict[str, Any], says: str
) -> None:
    with pytest.raises(PermanentError, match=rf"jobs\[1\] cannot be used: {says}"):
        order(engine, IMAGE, job)
    assert count(engine) == 0


def test_more_than_the_limit_is_refused_for_good_and_none_is_taken(engine: Engine) -> None:
    order(engine, IMAGE)
    with pytest.raises(TooManyPendingJobsError, match="none of these 2 was accepted") as caught:
        order(engine, IMAGE, IMAGE, key_prefix="more", max_pending=2)
    assert isinstance(caught.value, PermanentError)
    assert count(engine) == 1


def test_an_unknown_tenant_is_refused(engine: Engine) -> None:
    with pytest.raises(PermanentError, match="influencerai tenant add nobody"):
        order(engine, IMAGE, day=DayKey("nobody", TODAY.day))
