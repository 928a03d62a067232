"""A full object store: no claim is made, no job fails, and all goes on when there is space."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobStatus
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.errors import InsufficientStorageError
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.storage_pauses import report_full, try_resume
from influencerai_dagster.retry import retry_transient
from influencerai_dagster.storage.client import make_s3_client
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.jobs import status, submit
from influencerai_dagster_tests.testing.render_workers import work_until_idle
from influencerai_dagster_tests.testing.servers import S3Server
from influencerai_dagster_tests.testing.waiting import wait_until


class Space:
    """Whether the S3 server has any: uploads are answered with 507 while it has none."""

    def __init__(self) -> None:
        self.is_full = False
        self.num_refused = 0

    def answer(self, request: Any, **_: Any) -> Any:
        if not self.is_full or request.method not in {"PUT", "POST"}:
            return None
        self.num_refused += 1
        return Full(request.url, 507, HTTPHeaders(), None)


class Full(AWSResponse):
    """The answer of MinIO without space."""

    @property
    def content(self) -> bytes:
        return b"<Error><Code>XMinioStorageFull</Code><Message>full</Message></Error>"


@pytest.fixture
def space() -> Space:
    return Space()


@pytest.fixture
def object_store(s3_server: S3Server, space: Space) -> Iterator[ObjectStore]:
    """A store on an empty bucket whose server may be full."""
    client = make_s3_client(
        endpoint_url=s3_server.endpoint_url,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
        region="us-east-1",
        path_style=True,
        checksum_mode="when_required",
    )
    store = ObjectStore(client, s3_server.store().bucket)
    client.meta.events.register("before-send.s3", space.answer)
    yield store
    client.close()


def pause_now(engine: Engine) -> StoragePause | None:
    with transaction(engine) as session:
        return storage_pauses.current_pause(session)


def test_finished_renders_wait_for_space_no_job_is_claimed_and_none_fails(
    engine: Engine, renderer: ImageRenderer, space: Space
) -> None:
    renderer = ImageRenderer(
        engine, renderer.store, replace(renderer.render_session, longest_pause_seconds=0.2)
    )
    jobs = submit(engine, *"abcdefgh")
    space.is_full = True
    pauses: list[StoragePause] = []
    with ThreadPoolExecutor() as pool:
        report = pool.submit(
            work_until_idle, renderer, on_full=pauses.append, storage_probe_seconds=0.0
        )
        wait_until(lambda: space.num_refused > 5 and bool(pauses), "uploads were refused")
        running = [job for job in jobs if status(engine, job).status is JobStatus.RUNNING]
        waiting = [job for job in jobs if status(engine, job).status is JobStatus.PENDING]
        assert running
        assert waiting
        assert len(running) + len(waiting) == len(jobs)
        refused = space.num_refused
        wait_until(lambda: space.num_refused > refused, "they tried again")
        assert [status(engine, job).status for job in waiting] == [JobStatus.PENDING] * len(waiting)
        space.is_full = False
        assert {output.job_id for output in report.result(60).completed} == {job.id for job in jobs}
    assert {status(engine, job).attempt for job in jobs} == {1}
    assert pause_now(engine) is None
    assert len(pauses) == 1
    assert "XMinioStorageFull" in pauses[0].error


def test_a_worker_that_is_stopped_while_it_waits_for_space_loses_no_attempt(
    engine: Engine, renderer: ImageRenderer, space: Space
) -> None:
    (job,) = submit(engine, "a")
    space.is_full = True

    class StoppedError(Exception):
        """The run is cancelled."""

    def stop(_: StoragePause) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        work_until_idle(renderer, on_full=stop)
    now = status(engine, job)
    assert (now.status, now.attempt) == (JobStatus.PENDING, 0)


def test_a_worker_that_has_nothing_to_wait_for_ends_while_the_store_is_full(
    engine: Engine, renderer: ImageRenderer, space: Space
) -> None:
    (job,) = submit(engine, "a")
    space.is_full = True
    report_full(engine, renderer.store.bucket, InsufficientStorageError("no space left"))
    assert work_until_idle(renderer).jobs == []
    assert status(engine, job).status is JobStatus.PENDING
    assert pause_now(engine) is not None


def test_waiting_for_space_has_no_end_but_other_failures_have() -> None:
    pauses: list[float] = []
    left = iter([InsufficientStorageError("full")] * 100)
    reported: list[InsufficientStorageError] = []

    def upload() -> str:
        for error in left:
            raise error
        return "stored"

    assert retry_transient(upload, sleep=pauses.append, on_full=reported.append) == "stored"
    assert len(pauses) == len(reported) == 100
    assert sum(pauses) > 600


def test_the_pause_ends_when_there_is_space_for_a_video_and_leaves_nothing_behind(
    engine: Engine, object_store: ObjectStore, space: Space
) -> None:
    space.is_full = True
    report_full(engine, object_store.bucket, InsufficientStorageError("no space left"))
    assert not try_resume(engine, object_store, every_seconds=0)
    assert pause_now(engine) is not None
    space.is_full = False
    assert try_resume(engine, object_store, every_seconds=0)
    assert pause_now(engine) is None
    assert list(object_store.list("")) == []


def test_of_many_who_want_to_try_one_does(engine: Engine, object_store: ObjectStore) -> None:
    report_full(engine, object_store.bucket, InsufficientStorageError("no space left"))
    with transaction(engine) as session:
        session.execute(text("UPDATE storage_pauses SET probed_at = now() - interval '1 min'"))
    start = threading.Barrier(4)

    def attempt(_: int) -> bool:
        start.wait(10)
        with transaction(engine) as session:
            return storage_pauses.take_probe(session, object_store.bucket, every_seconds=15)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(attempt, range(4))) == 1
