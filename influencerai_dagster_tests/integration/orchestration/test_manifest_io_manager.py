"""Manifests between assets: what one run writes the next one reads, or says what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from influencerai_dagster.core.fingerprints import sha256_hex
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.captions import Caption, CaptionsManifest, CaptionSource
from influencerai_dagster.errors import TransientError
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.manifest_io_manager import ManifestIOManager
from influencerai_dagster.orchestration.metadata import stored_metadata
from influencerai_dagster.orchestration.partitions import dataset_partitions
from influencerai_dagster.storage.manifests import publish
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.code_location import failure_text

BELLA, OTHER = "demo/bella", "other/bella"


def manifest(partition: str, text: str = "bella, smiling") -> CaptionsManifest:
    caption = Caption(file_name="a.jpg", text=text, source=CaptionSource.SIDECAR)
    return CaptionsManifest.build(
        DatasetKey.parse(partition),
        dataset_version="0" * 32,
        trigger_phrase="bella",
        captions=(caption,),
    )


@dataclass
class Pipe:
    """Two assets with the IO manager between them."""

    instance: dg.DagsterInstance
    store: ObjectStore

    def write(self, value: CaptionsManifest) -> str:
        """Materialize the first asset; return the object key that it recorded."""
        result = self.materialize(value)
        assert result.success
        (event,) = result.get_asset_materialization_events()
        return str(event.materialization.metadata["object_key"].value)

    def materialize(
        self, value: CaptionsManifest, *, is_published: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Materialize the first asset with a value."""

        @dg.asset(name="captions", partitions_def=dataset_partitions)
        def written() -> dg.MaterializeResult[CaptionsManifest]:
            if not is_published:
                return dg.MaterializeResult(value=value)
            with dagster_failures():
                stored = publish(self.store, value).stored
            return dg.MaterializeResult(value=value, metadata=stored_metadata(stored))

        partition = str(value.key)
        self.instance.add_dynamic_partitions("datasets", [partition])
        return self._materialize([written], partition)

    def read(self, partition: str) -> tuple[CaptionsManifest | None, str]:
        """Materialize the second asset; return what it was given, and why it failed."""
        given: list[CaptionsManifest] = []

        @dg.asset(partitions_def=dataset_partitions, io_manager_key="nothing")
        def reader(captions: CaptionsManifest) -> None:
            given.append(captions)

        self.instance.add_dynamic_partitions("datasets", [partition])
        made_before = dg.AssetSpec("captions", partitions_def=dataset_partitions)
        result = self._materialize([made_before, reader], partition, ["reader"])
        return (given[0] if given else None), failure_text(result)

    def _materialize(
        self, assets: list[Any], partition: str, selection: list[str] | None = None
    ) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            assets,
            selection=selection,
            partition_key=partition,
            instance=self.instance,
            resources={
                "io_manager": ManifestIOManager(self.store),
                "nothing": dg.mem_io_manager,
            },
            raise_on_error=False,
        )


@pytest.fixture
def pipe(
    instance: dg.DagsterInstance,
    object_store: ObjectStore,
) -> Pipe:
    return Pipe(instance, object_store)


def test_what_was_written_is_read(pipe: Pipe) -> None:
    written = manifest(BELLA)
    key = pipe.write(written)
    assert key == written.object_key()
    assert pipe.read(BELLA) == (written, "")


def test_a_materialization_records_key_size_and_hash_of_its_object(pipe: Pipe) -> None:
    pipe.write(manifest(BELLA))
    (record,) = pipe.instance.fetch_materializations(dg.AssetKey("captions"), limit=1).records
    materialization = record.asset_materialization
    assert materialization is not None
    found = pipe.store.head(str(materialization.metadata["object_key"].value))
    assert found is not None
    assert materialization.metadata["size_bytes"].value == found.size_bytes
    assert len(str(materialization.metadata["sha256"].value)) == 64


def test_a_manifest_that_nobody_published_fails_the_asset_that_returned_it(pipe: Pipe) -> None:
    result = pipe.materialize(manifest(BELLA), is_published=False)
    assert "publish the manifest" in failure_text(result)
    assert not result.get_asset_materialization_events()
    assert list(pipe.store.list("")) == []


def test_two_tenants_with_the_same_dataset_name_read_their_own(pipe: Pipe) -> None:
    ours, theirs = manifest(BELLA, "ours"), manifest(OTHER, "theirs")
    pipe.write(ours)
    pipe.write(theirs)
    assert pipe.read(BELLA)[0] == ours
    assert pipe.read(OTHER)[0] == theirs


def test_the_version_of_the_newest_materialization_is_read(pipe: Pipe) -> None:
    first, second = manifest(BELLA, "first"), manifest(BELLA, "second")
    for value in (first, second):
        pipe.write(value)
        assert pipe.read(BELLA)[0] == value
    pipe.write(first)
    assert pipe.read(BELLA)[0] == first


def test_a_version_stays_where_it_was_when_a_newer_one_is_written(pipe: Pipe) -> None:
    keys = {pipe.write(manifest(BELLA, text)) for text in ("first", "second")}
    assert {info.key for info in pipe.store.list("")} == keys
    assert len(keys) == 2


def test_another_content_under_the_key_of_a_version_is_refused_and_left_as_it_is(
    pipe: Pipe,
) -> None:
    value = manifest(BELLA)
    pipe.store.put_latest(value.object_key(), b"somebody else's")

    result = pipe.materialize(value)

    assert value.object_key() in failure_text(result)
    assert not result.get_asset_materialization_events()
    assert pipe.store.get(value.object_key()) == b"somebody else's"


def remove(store: ObjectStore, key: str) -> None:
    store.delete(key)


def truncate(store: ObjectStore, key: str) -> None:
    store.put_latest(key, store.get(key)[:-1])


def change(store: ObjectStore, key: str) -> None:
    store.put_latest(key, store.get(key).replace(b"smiling", b"frowing"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(remove, "is gone from the bucket", id="missing"),
        pytest.param(truncate, "bytes, expected", id="truncated"),
        pytest.param(change, "SHA-256", id="other content"),
    ],
)
def test_a_damaged_object_fails_the_reader_with_its_key_and_what_is_wrong(
    pipe: Pipe, damage: Callable[[ObjectStore, str], None], says: str
) -> None:
    key = pipe.write(manifest(BELLA))
    damage(pipe.store, key)

    given, reason = pipe.read(BELLA)

    assert given is None
    assert says in reason
    assert key in reason


def test_a_damaged_object_of_another_tenant_changes_nothing(pipe: Pipe) -> None:
    ours = manifest(BELLA)
    pipe.write(ours)
    pipe.store.delete(pipe.write(manifest(OTHER)))
    assert pipe.read(BELLA)[0] == ours


def test_an_asset_that_was_never_materialized_is_named_with_its_partition(pipe: Pipe) -> None:
    pipe.write(manifest(OTHER))
    _, reason = pipe.read(BELLA)
    assert "captions of demo/bella was never materialized" in reason


def test_a_materialization_that_was_reported_from_outside_is_not_guessed_at(pipe: Pipe) -> None:
    pipe.instance.add_dynamic_partitions("datasets", [BELLA])
    pipe.instance.report_runless_asset_event(
        dg.AssetMaterialization("captions", partition=BELLA, metadata={"object_key": "a/b"})
    )
    _, reason = pipe.read(BELLA)
    assert "no sha256, size_bytes" in reason


def test_an_object_that_is_no_such_manifest_fails_the_reader(pipe: Pipe) -> None:
    pipe.instance.add_dynamic_partitions("datasets", [BELLA])
    key, data = "datasets/demo/bella/captions/1.json", b"{}"
    pipe.store.put_latest(key, data)
    facts: dict[str, Any] = {"object_key": key, "sha256": sha256_hex(data), "size_bytes": len(data)}
    pipe.instance.report_runless_asset_event(
        dg.AssetMaterialization("captions", partition=BELLA, metadata=facts)
    )
    _, reason = pipe.read(BELLA)
    assert f"{key} is not a CaptionsManifest" in reason


def test_a_store_that_is_away_asks_for_a_retry_instead_of_failing(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe.write(manifest(BELLA))

    def be_away(_store: ObjectStore, _stored: object) -> bytes:
        raise TransientError("S3 does not answer")

    monkeypatch.setattr(ObjectStore, "read", be_away)
    io_manager = ManifestIOManager(pipe.store)
    context = dg.build_input_context(
        asset_key=dg.AssetKey("captions"),
        partition_key=BELLA,
        asset_partitions_def=dataset_partitions,
        instance=pipe.instance,
        dagster_type=dg.PythonObjectDagsterType(CaptionsManifest),
    )
    with pytest.raises(dg.RetryRequested):
        io_manager.load_input(context)
