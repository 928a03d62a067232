"""Retention on a real catalog and a real bucket: planned, deleted, held back, and removed late."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.retention import legal_holds, rows
from influencerai_dagster.retention.deletion import (
    Deletions,
    RetentionRules,
    delete_planned,
    plan_retention,
)
from influencerai_dagster.retention.rules import RetentionAction
from influencerai_dagster.storage.multipart import incomplete_uploads
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    image_request,
    run_out_leases,
    submit_one,
    video_request,
)
from influencerai_dagster_tests.testing.servers import S3Server

RULES = RetentionRules(days=90, recovery_window=timedelta(days=30))
OLD, VERY_OLD = 100, 150
Age = Callable[[str, float], None]


@pytest.fixture
def put(object_store: ObjectStore) -> Age:
    """Write an object that is so many days old, by a habit of `rclone serve s3`."""

    def write(key: str, days: float) -> None:
        mtime = {"mtime": str(time.time() - days * 86400)}
        object_store.client.put_object(
            Bucket=object_store.bucket, Key=key, Body=b"content", Metadata=mtime
        )

    return write


def sql(engine: Engine, statement: str, **values: object) -> None:
    with transaction(engine) as session:
        session.execute(text(statement), values)


def made(engine: Engine, put: Age, days: float, tenant: str = "demo") -> job_queue.MediaAsset:
    """An image that was completed so many days ago, with its manifest."""
    submit_one(engine, image_request(), tenant)
    asset = complete_job(engine, claim_one(engine, tenant=tenant))
    for key in (asset.object_key, asset.manifest_key):
        put(key, days)
    age_job(engine, asset.job_id, days)
    return asset


def age_job(engine: Engine, job_id: UUID, days: float) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    sql(engine, "UPDATE jobs SET finished_at = :at WHERE id = :id", at=at, id=job_id)
    sql(engine, "UPDATE media_assets SET created_at = :at WHERE job_id = :id", at=at, id=job_id)


def age_deletions(engine: Engine, days: float) -> None:
    for change in (
        "UPDATE media_assets SET deleted_at = deleted_at - make_interval(secs => :days * 86400)",
        "UPDATE object_deletions SET marked_at = marked_at - make_interval(secs => :days * 86400)",
    ):
        sql(engine, change, days=days)


def run(engine: Engine, store: ObjectStore) -> Deletions:
    return delete_planned(engine, store, plan_retention(engine, store, RULES), RULES)


def is_deleted(engine: Engine, asset: job_queue.MediaAsset) -> bool:
    with transaction(engine) as session:
        found = job_queue.media_asset_of_job(session, asset.tenant, asset.job_id)
    return found is not None and found.deleted_at is not None


def test_a_plan_deletes_nothing(engine: Engine, object_store: ObjectStore, put: Age) -> None:
    asset = made(engine, put, OLD)
    plan = plan_retention(engine, object_store, RULES)
    assert {item.key for item in plan.of(RetentionAction.DELETE)} == {
        asset.object_key,
        asset.manifest_key,
    }
    assert plan.summary() == [
        {
            "tenant": "demo",
            "action": "delete",
            "why": "older than 90 days",
            "objects": 2,
            "bytes": 14,
        }
    ]
    assert not is_deleted(engine, asset)
    assert object_store.head(asset.object_key)


def test_old_images_are_deleted_at_once_and_their_bytes_after_the_window(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    old, young = made(engine, put, OLD), made(engine, put, 80)
    done = run(engine, object_store)
    assert set(done.deleted) == {old.object_key, old.manifest_key}
    assert done.removed == {}
    assert (is_deleted(engine, old), is_deleted(engine, young)) == (True, False)
    age_deletions(engine, 30.5)
    assert run(engine, object_store).removed == {}
    assert object_store.head(old.object_key)
    age_deletions(engine, 1)
    done = run(engine, object_store)
    assert done.removed.keys() == {old.object_key, old.manifest_key}
    assert object_store.head(old.object_key) is None
    assert object_store.head(young.object_key)
    with transaction(engine) as session:
        assert rows.tombstones(session, "demo") == {}


def test_days_are_the_tenants_own(engine: Engine, object_store: ObjectStore, put: Age) -> None:
    mine, theirs = made(engine, put, 20), made(engine, put, OLD, tenant="other")
    with transaction(engine) as session:
        legal_holds.set_retention_days(session, "demo", 7)
        legal_holds.set_retention_days(session, "other", 3650)
    run(engine, object_store)
    assert (is_deleted(engine, mine), is_deleted(engine, theirs)) == (True, False)


@pytest.mark.parametrize("what", ["tenant", "job"])
def test_a_hold_keeps_what_is_old_and_the_bytes_of_what_is_deleted(
    engine: Engine, object_store: ObjectStore, put: Age, what: str
) -> None:
    def hold(asset: job_queue.MediaAsset, *, is_on_hold: bool) -> None:
        with transaction(engine) as session:
            if what == "tenant":
                legal_holds.set_tenant_hold(session, "demo", is_on_hold=is_on_hold)
            else:
                legal_holds.set_job_hold(session, "demo", asset.job_id, is_on_hold=is_on_hold)

    asset = made(engine, put, VERY_OLD)
    hold(asset, is_on_hold=True)
    assert run(engine, object_store) == Deletions()
    hold(asset, is_on_hold=False)
    run(engine, object_store)
    age_deletions(engine, 40)
    hold(asset, is_on_hold=True)
    assert run(engine, object_store) == Deletions()
    assert object_store.head(asset.object_key)
    hold(asset, is_on_hold=False)
    assert len(run(engine, object_store).removed) == 2


@pytest.mark.parametrize("what", ["tenant", "job"])
def test_a_hold_that_is_set_after_the_plan_still_wins(
    engine: Engine, object_store: ObjectStore, put: Age, what: str
) -> None:
    asset, gone = made(engine, put, VERY_OLD), made(engine, put, VERY_OLD)
    run(engine, object_store)
    age_deletions(engine, 40)
    sql(engine, "UPDATE media_assets SET deleted_at = NULL WHERE job_id = :id", id=asset.job_id)
    sql(engine, "DELETE FROM object_deletions WHERE job_id = :id", id=asset.job_id)
    plan = plan_retention(engine, object_store, RULES)
    assert len(plan.of(RetentionAction.DELETE)) == len(plan.of(RetentionAction.REMOVE)) == 2
    with transaction(engine) as session:
        if what == "tenant":
            legal_holds.set_tenant_hold(session, "demo", is_on_hold=True)
        for held in (asset, gone) if what == "job" else ():
            legal_holds.set_job_hold(session, "demo", held.job_id, is_on_hold=True)
    done = delete_planned(engine, object_store, plan, RULES)
    assert (done.deleted, done.removed, len(done.skipped)) == ([], {}, 4)
    assert not is_deleted(engine, asset)
    assert object_store.head(gone.object_key)


def test_a_hold_waits_for_a_removal_that_runs_and_keeps_all_else(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    asset = made(engine, put, VERY_OLD)
    run(engine, object_store)
    age_deletions(engine, 40)
    began, go_on = threading.Event(), threading.Event()

    class Slow(ObjectStore):
        def delete(self, key: str) -> None:
            began.set()
            assert go_on.wait(20)
            super().delete(key)

    slow = Slow(object_store.client, object_store.bucket)
    with ThreadPoolExecutor(2) as pool:
        removal = pool.submit(run, engine, slow)
        assert began.wait(20)
        hold = pool.submit(hold_tenant, engine)
        assert not hold.done()
        go_on.set()
        assert len(removal.result(20).removed) == 2
        hold.result(20)
    assert object_store.head(asset.object_key) is None


def hold_tenant(engine: Engine) -> None:
    with transaction(engine) as session:
        legal_holds.set_tenant_hold(session, "demo", is_on_hold=True)


def test_an_image_that_a_pending_video_starts_from_stays(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    asset = made(engine, put, OLD)
    plan = plan_retention(engine, object_store, RULES)
    submit_one(engine, video_request(asset.job_id))
    done = delete_planned(engine, object_store, plan, RULES)
    assert (done.deleted, is_deleted(engine, asset)) == ([], False)
    assert run(engine, object_store) == Deletions()


def test_what_lost_claims_and_ended_videos_left_behind_goes(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    submit_one(engine)
    lost = claim_one(engine)
    run_out_leases(engine, lost)
    with transaction(engine) as session:
        job_queue.expire_leases(session)
    sql(engine, "UPDATE jobs SET not_before = now()")
    put(f"images/demo/{lost.id}/output.png", 5)
    assert run(engine, object_store) == Deletions()  # the job is open
    asset = complete_job(engine, claim_one(engine))
    put(asset.object_key, 5)
    age_job(engine, asset.job_id, 5)
    video_segment = f"videos/demo/{asset.job_id}/segment-0001.zip"
    put(video_segment, 5)
    done = run(engine, object_store)
    assert done.deleted == [f"images/demo/{lost.id}/output.png"]
    assert done.removed.keys() == {video_segment}
    age_deletions(engine, 32)
    assert run(engine, object_store).removed.keys() == {f"images/demo/{lost.id}/output.png"}
    assert not is_deleted(engine, asset)
    assert object_store.head(asset.object_key)


def test_what_no_job_names_goes_like_an_image_of_its_age(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    old, young = f"images/demo/{uuid4()}/output.png", f"images/demo/{uuid4()}/output.png"
    stranger = f"images/stranger/{uuid4()}/output.png"
    for key, days in ((old, OLD), (young, 50), (stranger, 1000)):
        put(key, days)
    assert run(engine, object_store).deleted == [old]
    age_deletions(engine, 32)
    assert run(engine, object_store).removed.keys() == {old}


def test_scratch_objects_go_and_loras_and_datasets_never(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    kept = [
        "loras/demo/lora1.safetensors",
        "datasets/demo/bella/images/img1.jpg",
        "images/demo/samples-lora1/sample-0.png",
    ]
    for key in (*kept, "doctor/old"):
        put(key, 4000)
    put("doctor/new", 0)
    assert run(engine, object_store).removed.keys() == {"doctor/old"}
    assert all(object_store.head(key) for key in (*kept, "doctor/new"))


def test_uploads_that_nobody_completes_are_ended(engine: Engine, any_s3: S3Server) -> None:
    store = any_s3.store()
    begun = store.client.create_multipart_upload(Bucket=store.bucket, Key="loras/demo/x")
    store.client.upload_part(
        Bucket=store.bucket, Key="loras/demo/x", UploadId=begun["UploadId"], PartNumber=1, Body=b"x"
    )
    assert run(engine, store).aborted == []
    there = [upload.key for upload in incomplete_uploads(store)]
    rules = replace(RULES, max_upload_age=timedelta(days=-1))
    plan = plan_retention(engine, store, rules)
    assert delete_planned(engine, store, plan, rules).aborted == there
    assert list(incomplete_uploads(store)) == []


def test_the_catalog_tells_what_retention_could_free(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    made(engine, put, VERY_OLD)
    run(engine, object_store)
    age_deletions(engine, 40)
    made(engine, put, OLD)
    made(engine, put, 5)
    with transaction(engine) as session:
        found = rows.freeable(session, default_days=90, recovery_window=timedelta(days=31))
    assert (found.now_bytes, found.later_bytes) == (14, 1234)


def test_a_day_is_needed_while_it_has_work_or_bytes(
    engine: Engine, object_store: ObjectStore, put: Age
) -> None:
    def needed() -> bool:
        with transaction(engine) as session:
            return bool(rows.days_with_objects_or_work(session))

    submit_one(engine)
    assert needed()
    claim = claim_one(engine)
    with transaction(engine) as session:
        job_queue.fail(session, claim.id, claim.lease_token, PermanentError("no"))
    assert not needed()
    made(engine, put, OLD)
    assert needed()
    run(engine, object_store)
    assert needed()
    age_deletions(engine, 40)
    run(engine, object_store)
    assert not needed()


@pytest.mark.parametrize("days", [0, -1, 36501])
def test_bad_days_are_refused(engine: Engine, days: int) -> None:
    with pytest.raises(PermanentError, match="1 to 36500"), transaction(engine) as session:
        legal_holds.set_retention_days(session, "demo", days)
