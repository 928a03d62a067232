"""Manifests on S3: published once, and what is read is what was stored."""

import pytest

from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.errors import ObjectNotFoundError, PermanentError
from influencerai_dagster.storage.manifests import Published, load, load_unverified, publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import dataset_manifest, lora_manifest


def test_a_published_manifest_comes_back(object_store: ObjectStore) -> None:
    manifest = dataset_manifest()
    stored = publish(object_store, manifest).stored
    assert stored.object_key == manifest.object_key()
    assert load(object_store, stored, DatasetManifest) == manifest
    assert load_unverified(object_store, stored.object_key, DatasetManifest) == Published(
        manifest, stored
    )


def test_publishing_the_same_manifest_again_changes_nothing(object_store: ObjectStore) -> None:
    assert publish(object_store, dataset_manifest()) == publish(object_store, dataset_manifest())


def test_a_manifest_is_never_replaced_by_another_of_its_key(object_store: ObjectStore) -> None:
    publish(object_store, lora_manifest())
    with pytest.raises(PermanentError, match="is written once"):
        publish(object_store, lora_manifest(steps=99))
    kept = load_unverified(object_store, lora_manifest().object_key(), LoraManifest).manifest
    assert kept.steps == 10


def test_manifests_of_two_tenants_lie_side_by_side(object_store: ObjectStore) -> None:
    for tenant in ("demo", "other"):
        manifest = dataset_manifest(tenant)
        loaded = load(object_store, publish(object_store, manifest).stored, DatasetManifest)
        assert loaded.tenant == tenant


def test_a_missing_manifest_is_named(object_store: ObjectStore) -> None:
    stored = publish(object_store, dataset_manifest()).stored
    object_store.delete(stored.object_key)
    with pytest.raises(ObjectNotFoundError, match=stored.object_key):
        load(object_store, stored, DatasetManifest)


@pytest.mark.parametrize("change", ["truncated", "same size"])
def test_a_manifest_with_other_bytes_is_refused(object_store: ObjectStore, change: str) -> None:
    stored = publish(object_store, dataset_manifest()).stored
    data = object_store.get(stored.object_key)
    other = data[:-10] if change == "truncated" else data.replace(b"bella", b"bellb")
    object_store.put_latest(stored.object_key, other)
    with pytest.raises(PermanentError, match="is not what its manifest says"):
        load(object_store, stored, DatasetManifest)


@pytest.mark.parametrize("data", [b"", b"not JSON", b"{}", b"\xff"], ids=repr)
def test_an_object_that_is_no_manifest_is_named_with_its_problem(
    object_store: ObjectStore, data: bytes
) -> None:
    object_store.put_latest("loras/demo/lora1.json", data)
    with pytest.raises(PermanentError, match=r"loras/demo/lora1\.json is not a LoraManifest"):
        load_unverified(object_store, "loras/demo/lora1.json", LoraManifest)


def test_a_manifest_of_another_kind_is_refused(object_store: ObjectStore) -> None:
    stored = publish(object_store, dataset_manifest()).stored
    with pytest.raises(PermanentError, match="is not a CaptionsManifest"):
        load(object_store, stored, CaptionsManifest)
