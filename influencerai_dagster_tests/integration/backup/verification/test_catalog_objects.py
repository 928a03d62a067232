"""The catalog tells which objects a backup has to hold, and how many rows."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, update

from influencerai_dagster.backup.verification.catalog_objects import (
    NamedObject,
    fence_open_jobs,
    named_objects,
    row_counts,
)
from influencerai_dagster.db.datasets import record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import record_lora
from influencerai_dagster.db.models.jobs import MediaAssetRow
from influencerai_dagster.errors import LeaseLostError
from influencerai_dagster_tests.testing.catalog_rows import (
    claim_one,
    complete_job,
    dataset_manifest,
    lora_manifest,
    submit_one,
)


def test_every_file_and_every_manifest_is_named_with_what_is_known_of_it(engine: Engine) -> None:
    submit_one(engine)
    asset = complete_job(engine, claim_one(engine))
    dataset, lora = dataset_manifest(), lora_manifest()
    with transaction(engine) as session:
        record_dataset(session, dataset)
        record_lora(session, lora)
    with transaction(engine) as session:
        found = list(named_objects(session))
    assert set(found) == {
        NamedObject("media_assets", asset.object_key, asset.sha256, asset.size_bytes),
        NamedObject("media_assets", asset.manifest_key, None, None),
        NamedObject("loras", lora.weights_key, lora.weights_sha256, lora.weights_size_bytes),
        NamedObject("loras", lora.object_key(), None, None),
        NamedObject("datasets", dataset.object_key(), None, None, dataset.version),
    }
    assert [item.object_key for item in found] == sorted(item.object_key for item in found)


def test_open_jobs_of_a_restored_catalog_write_under_names_that_no_claim_had(
    engine: Engine,
) -> None:
    submit_one(engine)
    done = claim_one(engine)
    complete_job(engine, done)
    submit_one(engine)
    running = claim_one(engine)
    submit_one(engine)
    with transaction(engine) as session:
        assert fence_open_jobs(session) == 2
    new = claim_one(engine)
    assert new.lease_token == 1001
    with pytest.raises(LeaseLostError):
        complete_job(engine, running)
    assert complete_job(engine, done).job_id == done.id, "what is completed stays"


def test_what_retention_marked_as_deleted_is_not_named(engine: Engine) -> None:
    submit_one(engine)
    complete_job(engine, claim_one(engine))
    with transaction(engine) as session:
        session.execute(update(MediaAssetRow).values(deleted_at=datetime.now(UTC)))
    with transaction(engine) as session:
        assert list(named_objects(session)) == []


def test_the_rows_of_every_table_are_counted(engine: Engine) -> None:
    submit_one(engine)
    with transaction(engine) as session:
        counts = row_counts(session)
    assert counts["tenants"] == 2
    assert counts["influencers"] == 2
    assert counts["jobs"] == 1
    assert counts["loras"] == 0
