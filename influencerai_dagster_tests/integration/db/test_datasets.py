"""The newest version of every dataset."""

import pytest
from sqlalchemy import Engine

from influencerai_dagster.db.datasets import get_dataset, record_dataset
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.catalog_rows import dataset_manifest


def test_a_new_version_takes_the_place_of_the_old_one(engine: Engine) -> None:
    with transaction(engine) as session:
        record_dataset(session, dataset_manifest(num_images=2))
        newest = dataset_manifest(num_images=3)
        recorded = record_dataset(session, newest)
        assert (recorded.version, recorded.num_images) == (newest.version, 3)
        assert recorded.manifest_key == newest.object_key()
        assert get_dataset(session, "demo", "bella") == recorded


def test_the_same_version_again_changes_nothing(engine: Engine) -> None:
    with transaction(engine) as session:
        first = record_dataset(session, dataset_manifest())
    with transaction(engine) as session:
        assert record_dataset(session, dataset_manifest()) == first


def test_a_dataset_of_another_tenant_is_none(engine: Engine) -> None:
    with transaction(engine) as session:
        record_dataset(session, dataset_manifest("demo"))
        assert get_dataset(session, "other", "bella") is None


def test_a_dataset_of_an_unknown_tenant_is_refused(engine: Engine) -> None:
    with transaction(engine) as session, pytest.raises(PermanentError, match="tenant add nobody"):
        record_dataset(session, dataset_manifest("nobody"))
