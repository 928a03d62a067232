"""Which LoRAs exist."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.loras import (
    choose_lora,
    find_by_recipe,
    get_lora,
    newest_lora,
    record_lora,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.catalog_rows import lora_manifest
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

LONG_AGO = datetime.now(UTC) - timedelta(days=9)


def test_recording_a_lora_twice_is_recording_it_once(engine: Engine) -> None:
    manifest = lora_manifest()
    with transaction(engine) as session:
        recorded = record_lora(session, manifest)
        assert record_lora(session, manifest) == recorded
        assert recorded.base_model_family is BaseModelFamily.SD15
        assert find_by_recipe(session, "demo", manifest.recipe_version) == recorded
        assert get_lora(session, "demo", "lora1") == recorded


def test_a_second_training_of_a_recipe_gets_the_lora_of_the_first(engine: Engine) -> None:
    first = lora_manifest()
    second = lora_manifest(lora_id="lora2", recipe_version=first.recipe_version)
    with transaction(engine) as session:
        record_lora(session, first)
        assert record_lora(session, second).lora_id == "lora1"
        assert get_lora(session, "demo", "lora2") is None


@pytest.mark.parametrize("field", ["recipe_version", "weights_sha256"])
def test_a_lora_id_never_stands_for_something_else(engine: Engine, field: str) -> None:
    with transaction(engine) as session:
        record_lora(session, lora_manifest())
        with pytest.raises(PermanentError, match="a LoRA never changes"):
            record_lora(session, lora_manifest(**{field: "0" * 64}))


def test_the_newest_lora_of_a_dataset_is_the_one_recorded_or_chosen_last(engine: Engine) -> None:
    def newest_id() -> str | None:
        with transaction(engine) as session:
            newest = newest_lora(session, "demo", "bella")
            return None if newest is None else newest.lora_id

    with transaction(engine) as session:
        assert newest_lora(session, "demo", "bella") is None
        record_lora(session, lora_manifest(lora_id="first"))
        record_lora(session, lora_manifest(lora_id="second", created_at=LONG_AGO))
    assert newest_id() == "second"
    with transaction(engine) as session:
        choose_lora(session, "demo", "first")
    assert newest_id() == "first"
    with transaction(engine) as session:
        choose_lora(session, "other", "second")
        assert newest_lora(session, "demo", "anna") is None
    assert newest_id() == "first"


def test_a_lora_of_another_tenant_is_none(engine: Engine) -> None:
    manifest = lora_manifest()
    with transaction(engine) as session:
        record_lora(session, manifest)
        assert get_lora(session, "other", "lora1") is None
        assert newest_lora(session, "other", "bella") is None
        assert find_by_recipe(session, "other", manifest.recipe_version) is None


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_lora_id_is_refused(engine: Engine, name: str) -> None:
    with transaction(engine) as session, pytest.raises(PermanentError, match="is not allowed"):
        get_lora(session, "demo", name)
