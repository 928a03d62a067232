"""What the sensors ask for: each tick is a call, on a real listing and a real job queue."""

import gc
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import text

from influencerai_dagster.core.dagster_names import MAX_DATASET_RUNS, UPLOADS_TAG
from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.running_trainings import begin_training, end_training
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.jobs import JobRequest
from influencerai_dagster.orchestration.generation.pending_jobs_sensor import (
    MAX_RUNS_ALIVE,
    choose,
    pending_jobs_sensor,
)
from influencerai_dagster.orchestration.resources.catalog import Catalog
from influencerai_dagster.orchestration.training import dataset_upload_sensor as dataset_uploads
from influencerai_dagster.orchestration.training.dataset_upload_sensor import dataset_upload_sensor
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster.training.upload_changes import uploads_fingerprint
from influencerai_dagster_tests.testing.catalog_rows import (
    DAY,
    claim_one,
    complete_job,
    end_backoff,
    image_request,
    lora_manifest,
    run_out_leases,
    video_request,
)
from influencerai_dagster_tests.testing.dagster_server import job_origin
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES
from influencerai_dagster_tests.testing.servers import S3Server


def upload(store: ObjectStore, dataset: str, name: str = "a.jpg", data: bytes = b"a photo") -> None:
    tenant, _, folder = dataset.partition("/")
    store.put_latest(f"datasets/{tenant}/{folder}/images/{name}", data)


class Uploads:
    """The upload sensor with the cursor that its ticks leave."""

    def __init__(
        self,
        instance: dg.DagsterInstance,
        object_store: ObjectStore,
        catalog: Catalog,
    ) -> None:
        self._instance = instance
        self._resources = {"object_store": object_store, "catalog": catalog}
        self.cursor: str | None = None
        self.run_keys: list[str] = []

    def evaluate(self, *, settle_seconds: float = 0) -> object:
        sensor = dataset_upload_sensor(settle_seconds=settle_seconds)
        with dg.build_sensor_context(
            self._instance, cursor=self.cursor, resources=self._resources
        ) as context:
            return sensor(context)

    def tick(self, *, settle_seconds: float = 0) -> dg.SensorResult:
        result = self.evaluate(settle_seconds=settle_seconds)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        self.run_keys += [str(request.run_key) for request in result.run_requests or []]
        return result

    def requested(self, *, settle_seconds: float = 0) -> list[str]:
        """Tick; return the datasets that were asked for."""
        result = self.tick(settle_seconds=settle_seconds)
        return [str(request.partition_key) for request in result.run_requests or []]


@pytest.fixture
def uploads(
    instance: dg.DagsterInstance,
    object_store: ObjectStore,
    catalog: Catalog,
) -> Uploads:
    return Uploads(instance, object_store, catalog)


def test_the_first_tick_without_uploads_asks_for_nothing(uploads: Uploads) -> None:
    result = uploads.tick()
    assert not result.run_requests
    assert str(result.skip_reason and result.skip_reason.skip_message) == "0 datasets, none changed"


def test_the_first_tick_asks_for_every_dataset_and_adds_its_partition(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    for dataset in ("demo/bella", "demo/anna", "other/bella"):
        upload(object_store, dataset)

    result = uploads.tick()

    wanted = {"demo/bella", "demo/anna", "other/bella"}
    assert {request.partition_key for request in result.run_requests or []} == wanted
    (added,) = result.dynamic_partitions_requests or []
    assert added.partitions_def_name == "datasets"
    assert set(added.partition_keys) == wanted


def test_a_dataset_is_asked_for_once_until_it_changes(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    assert uploads.requested() == ["demo/bella"]
    assert uploads.requested() == []
    upload(object_store, "demo/bella", data=b"another photo")
    assert uploads.requested() == ["demo/bella"]
    upload(object_store, "demo/bella", "b.jpg")
    assert uploads.requested() == ["demo/bella"]
    object_store.delete("datasets/demo/bella/images/b.jpg")
    assert uploads.requested() == ["demo/bella"]
    assert uploads.requested() == []


def test_content_that_was_there_before_gets_a_run_key_that_dagster_has_not_run(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    for data in (b"first", b"second", b"first", b"second"):
        upload(object_store, "demo/bella", data=data)
        assert uploads.requested() == ["demo/bella"]
    assert len(set(uploads.run_keys)) == 4


def test_a_run_key_holds_the_dataset_and_its_content(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella", data=b"first")
    uploads.tick()
    upload(object_store, "demo/bella", data=b"second")
    uploads.tick()

    first, second = uploads.run_keys
    assert first.startswith("demo/bella@")
    assert first.partition("#")[0] != second.partition("#")[0]
    assert second.partition("#")[0].endswith(json.loads(str(uploads.cursor))["seen"]["demo/bella"])


def test_a_tick_that_is_repeated_with_its_cursor_asks_with_the_same_run_key(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    for _ in range(2):
        uploads.cursor = None  # the daemon died before it kept the new one
        uploads.tick()
    first, second = uploads.run_keys
    assert first == second


def test_a_dataset_that_is_still_being_uploaded_waits_and_is_named(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    result = uploads.tick(settle_seconds=3600)
    assert not result.run_requests
    assert "still being uploaded: demo/bella" in str(result.skip_reason)
    assert uploads.requested() == ["demo/bella"]


def test_a_dataset_that_settles_does_not_hold_up_another(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    uploads.tick()
    upload(object_store, "demo/bella", "b.jpg")
    upload(object_store, "demo/anna")
    assert uploads.requested(settle_seconds=3600) == []
    assert sorted(uploads.requested()) == ["demo/anna", "demo/bella"]


def test_a_dataset_that_disappeared_asks_for_nothing_and_is_new_when_it_is_back(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    uploads.tick()
    object_store.delete("datasets/demo/bella/images/a.jpg")
    assert uploads.requested() == []
    upload(object_store, "demo/bella")
    assert uploads.requested() == ["demo/bella"]
    assert len(set(uploads.run_keys)) == 2


def test_a_listing_that_fails_raises_and_keeps_the_cursor(
    instance: dg.DagsterInstance,
    object_store: ObjectStore,
    catalog: Catalog,
) -> None:
    gone = ObjectStore(object_store.client, "no-such-bucket")
    resources = {"object_store": gone, "catalog": catalog}
    before = '{"seen":{"demo/bella":"1"}}'
    with dg.build_sensor_context(instance, cursor=before, resources=resources) as context:
        with pytest.raises(PermanentError, match="no-such-bucket"):
            dataset_upload_sensor(settle_seconds=0)(context)
        assert context.cursor == before


def test_a_later_tenant_whose_listing_fails_is_no_tenant_without_uploads(
    uploads: Uploads, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(object_store, "demo/bella")
    upload(object_store, "other/bella")
    uploads.tick()
    before = uploads.cursor
    listing = ObjectStore.list

    def fail_for_other(store: ObjectStore, prefix: str) -> Iterator[Any]:
        if "other" in prefix:
            raise PermanentError("access denied")
        return listing(store, prefix)

    monkeypatch.setattr(ObjectStore, "list", fail_for_other)
    with pytest.raises(PermanentError):
        uploads.tick()
    assert uploads.cursor == before


def test_uploads_of_a_tenant_that_nobody_added_are_ignored(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "stranger/bella")
    assert uploads.requested() == []


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(value, id=name)
        for name, value in HOSTILE_NAMES.items()
        # S3 itself refuses the others: no object can have such a key.
        if name not in {"parent folder", "only dots", "nul", "300 characters", "empty", "absolute"}
    ],
)
def test_a_hostile_folder_name_is_ignored(
    uploads: Uploads, object_store: ObjectStore, name: str
) -> None:
    upload(object_store, "demo/bella")
    object_store.put_latest(f"datasets/demo/{name}/images/a.jpg", b"a photo")
    assert uploads.requested() == ["demo/bella"]


@pytest.mark.parametrize(
    "key",
    ["datasets/demo/bella/a.jpg", "datasets/demo/bella/images/sub/a.jpg", "datasets/demo/a.jpg"],
)
def test_an_object_that_is_no_upload_asks_for_nothing(
    uploads: Uploads, object_store: ObjectStore, key: str
) -> None:
    object_store.put_latest(key, b"a photo")
    assert uploads.requested() == []


def test_more_datasets_than_a_tick_takes_are_all_asked_for_over_ticks(
    uploads: Uploads, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_uploads, "MAX_DATASET_RUNS", 3)
    wanted = [f"demo/d{number}" for number in range(5)] + ["other/d0", "other/d1"]
    list(object_store.map(lambda dataset: upload(object_store, dataset), wanted))

    ticks = [uploads.requested() for _ in range(4)]

    assert [len(tick) for tick in ticks] == [3, 3, 1, 0]
    assert sorted(dataset for tick in ticks for dataset in tick) == wanted


def test_while_enough_datasets_are_built_the_others_wait_and_the_tick_says_so(
    uploads: Uploads, object_store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    for number in range(MAX_DATASET_RUNS):
        add_run(instance, "build_dataset_job", f"flood/d{number}")
    upload(object_store, "demo/bella")
    result = uploads.tick()
    assert not result.run_requests
    assert "1 datasets wait until one of 12 runs" in str(result.skip_reason)
    instance.wipe()
    assert uploads.requested() == ["demo/bella"]


def test_a_tenant_without_a_run_comes_before_one_with_many(
    uploads: Uploads, object_store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    for number in range(MAX_DATASET_RUNS - 1):
        add_run(instance, "build_dataset_job", f"demo/d{number}")
    for dataset in ("demo/anna", "other/bella"):
        upload(object_store, dataset)
    assert uploads.requested() == ["other/bella"]


def test_a_dataset_whose_run_was_launched_for_these_uploads_gets_no_second_one(
    uploads: Uploads, object_store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    upload(object_store, "demo/bella")
    now = uploads_fingerprint(object_store.list("datasets/demo/bella/images/"))
    add_run(instance, "build_dataset_job", "demo/bella", tags={UPLOADS_TAG: now})
    assert uploads.requested() == []
    instance.wipe()
    assert uploads.requested() == [], "the run has ended, and the cursor knows it"
    upload(object_store, "demo/bella", "b.jpg")
    assert uploads.requested() == ["demo/bella"]


def test_a_run_that_was_launched_for_older_uploads_does_not_count(
    uploads: Uploads, object_store: ObjectStore, instance: dg.DagsterInstance
) -> None:
    upload(object_store, "demo/bella")
    add_run(instance, "build_dataset_job", "demo/bella", tags={UPLOADS_TAG: "0123456789abcdef"})
    assert uploads.requested() == ["demo/bella"]


def test_while_nothing_changes_the_bucket_is_listed_less_often(
    uploads: Uploads, object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert uploads.requested() == []
    began = time.time()
    monkeypatch.setattr(time, "time", lambda: began + 100)
    assert uploads.requested() == []
    upload(object_store, "demo/bella")
    monkeypatch.setattr(time, "time", lambda: began + 105)
    assert "uploads are listed again in" in str(uploads.evaluate())
    monkeypatch.setattr(time, "time", lambda: began + 112)
    assert uploads.requested() == ["demo/bella"]


def test_a_cursor_of_an_older_version_asks_again_instead_of_failing(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    uploads.cursor = '{"demo/bella":"0123456789abcdef"}'
    assert uploads.requested() == ["demo/bella"]


def test_a_cursor_from_before_we_kept_sightings_is_read(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    uploads.cursor = '{"num_batches":7,"seen":{"demo/bella":"0123456789abcdef"}}'
    assert uploads.requested() == ["demo/bella"]
    assert uploads.run_keys[0].endswith("#8")


def test_a_photo_that_says_it_was_written_in_the_future_does_not_keep_its_dataset_waiting(
    uploads: Uploads,
    object_store: ObjectStore,
    s3_server: S3Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = s3_server.root_dir / object_store.bucket / "datasets/demo/bella/images"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"a photo")
    os.utime(folder / "a.jpg", (1_924_905_600, 1_924_905_600))  # 2030, as `cp -p` keeps it
    (listed,) = object_store.list("datasets/demo/bella/")
    assert listed.last_modified.year >= 2030, "the server tells the time of the file"
    now = time.time()
    assert uploads.requested(settle_seconds=30) == []
    monkeypatch.setattr(time, "time", lambda: now + 31)
    assert uploads.requested(settle_seconds=30) == ["demo/bella"]


def test_the_cursor_keeps_only_datasets_that_are_there(
    uploads: Uploads, object_store: ObjectStore
) -> None:
    for number in range(20):
        upload(object_store, "demo/bella", data=str(number).encode())
        uploads.tick(settle_seconds=3600)
    assert list(json.loads(str(uploads.cursor))["settling"]) == ["demo/bella"]
    object_store.delete("datasets/demo/bella/images/a.jpg")
    uploads.tick(settle_seconds=3600)
    assert json.loads(str(uploads.cursor))["settling"] == {}


def end_run(
    instance: dg.DagsterInstance, job_name: str, partition: str, *, has_begun: bool = False
) -> None:
    """Add a run that failed, before it began or after."""
    run = dg.DagsterRun(
        job_name=job_name,
        status=dg.DagsterRunStatus.STARTING,
        tags={"dagster/partition": partition},
    )
    instance.add_run(run)
    if has_begun:
        instance.report_dagster_event(dg.DagsterEvent("PIPELINE_START", job_name), run.run_id)
    started = instance.get_run_by_id(run.run_id)
    assert started is not None
    instance.report_run_failed(started)


def test_a_dataset_whose_run_was_lost_before_it_began_is_asked_for_again(
    uploads: Uploads,
    instance: dg.DagsterInstance,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload(object_store, "demo/bella")
    assert uploads.requested() == ["demo/bella"]
    end_run(instance, "build_dataset_job", "demo/bella")
    assert uploads.requested() == []
    later = time.time() + 6
    monkeypatch.setattr(time, "time", lambda: later)
    assert uploads.requested() == ["demo/bella"]
    assert len(set(uploads.run_keys)) == 2


def test_a_dataset_whose_run_failed_after_it_began_is_not_asked_for_again(
    uploads: Uploads,
    instance: dg.DagsterInstance,
    object_store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upload(object_store, "demo/bella")
    assert uploads.requested() == ["demo/bella"]
    end_run(instance, "build_dataset_job", "demo/bella", has_begun=True)
    later = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: later)
    assert uploads.requested() == []


class Jobs:
    """The job queue and the sensor that looks at it."""

    def __init__(self, instance: dg.DagsterInstance, catalog: Catalog) -> None:
        self.instance, self.catalog, self.engine = instance, catalog, catalog.engine

    def submit(
        self, request: JobRequest | None = None, *, tenant: str = "demo", day: date = DAY
    ) -> job_queue.Job:
        with transaction(self.engine) as session:
            return job_queue.submit(session, tenant, day, [request or image_request()])[0]

    def tick(self) -> dg.SensorResult | dg.SkipReason:
        resources = {"catalog": self.catalog}
        with dg.build_sensor_context(self.instance, resources=resources) as context:
            result = pending_jobs_sensor(context)
        assert isinstance(result, dg.SensorResult | dg.SkipReason)
        return result

    def requested(self) -> list[tuple[str, str]]:
        """Tick; return the Dagster jobs and days that were asked for."""
        result = self.tick()
        if isinstance(result, dg.SkipReason):
            return []
        return [
            (str(request.job_name), str(request.partition_key))
            for request in result.run_requests or []
        ]


@pytest.fixture
def jobs(instance: dg.DagsterInstance, catalog: Catalog) -> Jobs:
    return Jobs(instance, catalog)


IMAGES = ("generate_images_job", "demo/2026-11-23")
VIDEOS = ("generate_videos_job", "demo/2026-11-23")


def test_without_jobs_nothing_is_asked_for(jobs: Jobs) -> None:
    result = jobs.tick()
    assert isinstance(result, dg.SkipReason)
    assert result.skip_message == "no job can be rendered now"


def test_many_jobs_of_one_day_are_one_run_with_its_partition_added(jobs: Jobs) -> None:
    for _ in range(3):
        jobs.submit()
    result = jobs.tick()
    assert isinstance(result, dg.SensorResult)
    (request,) = result.run_requests or []
    assert (request.job_name, request.partition_key) == IMAGES
    (added,) = result.dynamic_partitions_requests or []
    assert (added.partitions_def_name, list(added.partition_keys)) == ("content_days", [IMAGES[1]])


def test_a_day_whose_runs_are_lost_before_they_begin_gets_the_next_one_after_a_pause(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.submit()
    for _ in range(2):
        end_run(jobs.instance, *IMAGES)
    result = jobs.tick()
    assert isinstance(result, dg.SkipReason)
    assert "1 tenant-days wait: their last runs failed before they started" in str(
        result.skip_message
    )
    later = time.time() + 11
    monkeypatch.setattr(time, "time", lambda: later)
    assert jobs.requested() == [IMAGES]


def test_a_day_whose_runs_failed_after_they_began_gets_the_next_one_at_once(jobs: Jobs) -> None:
    jobs.submit()
    for _ in range(5):
        end_run(jobs.instance, *IMAGES, has_begun=True)
    assert jobs.requested() == [IMAGES]


def test_two_tenants_and_two_days_are_a_run_each(jobs: Jobs) -> None:
    jobs.submit()
    jobs.submit(tenant="other")
    jobs.submit(day=date(2026, 11, 24))
    assert sorted(partition for _, partition in jobs.requested()) == [
        "demo/2026-11-23",
        "demo/2026-11-24",
        "other/2026-11-23",
    ]


def test_a_video_waits_for_its_image(jobs: Jobs) -> None:
    image = jobs.submit()
    jobs.submit(video_request(image.id))
    assert jobs.requested() == [IMAGES]
    complete_job(jobs.engine, claim_one(jobs.engine))
    assert jobs.requested() == [VIDEOS]


def test_a_video_whose_image_failed_fails_and_asks_for_nothing(jobs: Jobs) -> None:
    image = jobs.submit()
    video = jobs.submit(video_request(image.id))
    claimed = claim_one(jobs.engine)
    with transaction(jobs.engine) as session:
        job_queue.fail(session, claimed.id, claimed.lease_token, PermanentError("no such workflow"))
    assert jobs.requested() == []
    with transaction(jobs.engine) as session:
        assert job_queue.get_job(session, "demo", video.id).status == "failed"


def test_a_job_waits_for_the_lora_of_its_own_tenant(jobs: Jobs) -> None:
    jobs.submit(image_request(loras=("bella",)))
    with transaction(jobs.engine) as session:
        record_lora(session, lora_manifest("other", "lora1"))
    assert jobs.requested() == []
    with transaction(jobs.engine) as session:
        record_lora(session, lora_manifest("demo", "lora2"))
    assert jobs.requested() == [IMAGES]


def add_run(
    instance: dg.DagsterInstance,
    job_name: str = IMAGES[0],
    partition: str = IMAGES[1],
    status: str = "STARTED",
    tags: Mapping[str, str] = MappingProxyType({}),
    **fields: Any,
) -> None:
    instance.add_run(
        dg.DagsterRun(
            job_name=job_name,
            status=dg.DagsterRunStatus[status],
            tags={"dagster/partition": partition, **tags},
            remote_job_origin=job_origin(job_name),
            **fields,
        )
    )


@pytest.mark.parametrize("status", ["QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"])
def test_a_day_with_a_run_alive_gets_no_second_one(jobs: Jobs, status: str) -> None:
    jobs.submit()
    add_run(jobs.instance, status=status)
    assert jobs.requested() == []
    assert "each with a run alive" in str(jobs.tick())


def test_a_day_that_a_person_materializes_by_hand_gets_no_second_run(jobs: Jobs) -> None:
    jobs.submit()
    assets = frozenset({dg.AssetKey("generated_images")})
    add_run(jobs.instance, "__ASSET_JOB", asset_selection=assets)
    assert jobs.requested() == []


def test_a_run_with_a_partition_key_of_another_form_is_no_obstacle(jobs: Jobs) -> None:
    jobs.submit()
    add_run(jobs.instance, partition="demo/../other/2026-11-23")
    assert jobs.requested() == [IMAGES]


def test_a_run_that_the_sensor_asks_for_is_not_retried(jobs: Jobs) -> None:
    jobs.submit()
    result = jobs.tick()
    assert isinstance(result, dg.SensorResult)
    assert [r.tags["dagster/max_retries"] for r in result.run_requests or []] == ["0"]


def test_live_runs_are_read_once_however_many_days_have_work(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in range(1, 6):
        jobs.submit(day=date(2026, 11, day))
    reads: list[dg.RunsFilter] = []
    read = dg.DagsterInstance.get_runs

    def counted(instance: dg.DagsterInstance, filters: dg.RunsFilter) -> Sequence[dg.DagsterRun]:
        reads.append(filters)
        return read(instance, filters)

    monkeypatch.setattr(dg.DagsterInstance, "get_runs", counted)
    assert len(jobs.requested()) == 5
    assert len(reads) == 1


def test_the_tenant_that_had_least_of_the_gpus_comes_first(jobs: Jobs) -> None:
    jobs.submit()
    jobs.submit(tenant="other")
    for finish_tags, first in (({"demo": 5.0, "other": 9.0}, "demo"), ({"demo": 5.0}, "other")):
        set_finish_tags(jobs, finish_tags)
        assert jobs.requested()[0][1].startswith(first)


def set_finish_tags(jobs: Jobs, finish_tags: dict[str, float]) -> None:
    with transaction(jobs.engine) as session:
        session.execute(text("DELETE FROM gpu_shares"))
        for tenant, tag in finish_tags.items():
            statement = text("INSERT INTO gpu_shares (tenant_id, finish_tag) VALUES (:id, :tag)")
            session.execute(statement, {"id": tenant, "tag": tag})


def test_a_flood_of_days_keeps_the_queue_short_and_its_order() -> None:
    wanted = [
        (kind, DayKey(f"t{number:03}", DAY))
        for kind in (JobKind.IMAGE, JobKind.VIDEO)
        for number in range(200)
    ]
    tags = {f"t{number:03}": 200.0 - number for number in range(200)}
    chosen = choose(wanted, [], tags)
    assert len(chosen) == 2 * MAX_RUNS_ALIVE == 100
    assert [day.tenant for kind, day in chosen if kind is JobKind.IMAGE] == [
        f"t{number:03}" for number in range(199, 199 - MAX_RUNS_ALIVE, -1)
    ]
    served = [(kind, str(day)) for kind, day in chosen]
    assert choose(wanted, served, tags) == []
    assert choose(wanted, served[1:], tags) == [chosen[0]]


def test_renders_that_wait_for_a_training_on_the_same_gpu_say_so(jobs: Jobs) -> None:
    jobs.submit()
    add_run(jobs.instance, status="QUEUED")
    with transaction(jobs.engine) as session:
        begin_training(session, "run", "demo/bella", owns_gpu=True)
    try:
        assert "wait for the GPU, which train_lora demo/bella has" in str(jobs.tick())
    finally:
        with transaction(jobs.engine) as session:
            end_training(session, "run")


@pytest.mark.parametrize(
    ("job_name", "partition", "status"),
    [
        pytest.param(*IMAGES, "SUCCESS", id="run that ended"),
        pytest.param(*IMAGES, "CANCELED", id="run that was stopped"),
        pytest.param(*VIDEOS, "STARTED", id="run of the other kind"),
        pytest.param(IMAGES[0], "other/2026-11-23", "STARTED", id="run of another tenant"),
        pytest.param(IMAGES[0], "demo/2026-11-24", "STARTED", id="run of another day"),
    ],
)
def test_a_run_that_does_not_serve_the_day_does_not_count(
    jobs: Jobs, job_name: str, partition: str, status: str
) -> None:
    jobs.submit()
    add_run(jobs.instance, job_name, partition, status)
    assert jobs.requested() == [IMAGES]


def test_a_job_whose_worker_died_is_asked_for_again_after_its_backoff(jobs: Jobs) -> None:
    jobs.submit()
    claimed = claim_one(jobs.engine)
    assert jobs.requested() == []
    run_out_leases(jobs.engine, claimed)
    assert jobs.requested() == []
    end_backoff(jobs.engine)
    assert jobs.requested() == [IMAGES]


def test_ticks_leave_no_connection_behind(
    uploads: Uploads, jobs: Jobs, object_store: ObjectStore
) -> None:
    upload(object_store, "demo/bella")
    jobs.submit()
    gc.disable()  # a code server collects cycles late
    try:
        for _ in range(3):
            uploads.tick()
            jobs.tick()
        with transaction(jobs.engine) as session:
            statement = text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = 'orchestration'"
            )
            assert session.execute(statement).scalar_one() == 1
    finally:
        gc.enable()
