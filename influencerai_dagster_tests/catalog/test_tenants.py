"""Tenants and influencers."""

from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.tenants import (
    add_tenant,
    get_influencer,
    influencer_of_dataset,
    list_tenants,
    put_influencer,
    require_tenant,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.catalog.samples import HOSTILE_NAMES

ANNA: dict[str, Any] = {
    "dataset": "anna",
    "trigger_phrase": "anna woman",
    "class_caption": "photo of a woman",
}


def test_adding_a_tenant_twice_is_adding_it_once(engine: Engine) -> None:
    with transaction(engine) as session:
        assert add_tenant(session, "third", name="The Third")
        assert not add_tenant(session, "third", name="Another")
        assert require_tenant(session, "third").name == "The Third"
        assert [tenant.id for tenant in list_tenants(session)] == ["demo", "other", "third"]


def test_an_unknown_tenant_says_how_to_add_it(engine: Engine) -> None:
    with (
        transaction(engine) as session,
        pytest.raises(PermanentError, match=r"`influencerai tenant add nobody`"),
    ):
        require_tenant(session, "nobody")


@pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)
def test_a_hostile_name_is_no_tenant_influencer_or_dataset(engine: Engine, name: str) -> None:
    with transaction(engine) as session:
        with pytest.raises(PermanentError, match=r"tenant name .* is not allowed"):
            add_tenant(session, name)
        with pytest.raises(PermanentError, match=r"tenant name .* is not allowed"):
            require_tenant(session, name)
        with pytest.raises(PermanentError, match=r"influencer name .* is not allowed"):
            put_influencer(session, "demo", name, name="Anna", **ANNA)
        with pytest.raises(PermanentError, match=r"dataset name .* is not allowed"):
            influencer_of_dataset(session, "demo", name)
        assert len(list_tenants(session)) == 2


def test_an_influencer_is_found_by_its_name_and_by_its_dataset(engine: Engine) -> None:
    persona = {"age": 25, "likes": ["sea", "日本"]}
    with transaction(engine) as session:
        put_influencer(session, "demo", "anna", name="Anna", persona=persona, **ANNA)
    with transaction(engine) as session:
        anna = get_influencer(session, "demo", "anna")
        assert (anna.name, anna.persona) == ("Anna", persona)
        assert influencer_of_dataset(session, "demo", "anna") == anna
        assert influencer_of_dataset(session, "demo", "empty") is None


def test_putting_an_influencer_again_replaces_it(engine: Engine) -> None:
    with transaction(engine) as session:
        put_influencer(session, "demo", "anna", **ANNA)
        put_influencer(session, "demo", "anna", **{**ANNA, "trigger_phrase": " anna girl "})
        assert get_influencer(session, "demo", "anna").trigger_phrase == "anna girl"


def test_influencers_of_two_tenants_do_not_meet(engine: Engine) -> None:
    with transaction(engine) as session:
        put_influencer(session, "demo", "anna", **ANNA)
        assert influencer_of_dataset(session, "other", "anna") is None
        with pytest.raises(PermanentError, match="'other' has no influencer 'anna'"):
            get_influencer(session, "other", "anna")


def test_two_influencers_cannot_share_a_dataset(engine: Engine) -> None:
    with (
        pytest.raises(PermanentError, match="another influencer of the tenant has this dataset"),
        transaction(engine) as session,
    ):
        put_influencer(session, "demo", "twin", **{**ANNA, "dataset": "bella"})


@pytest.mark.parametrize("field", ["trigger_phrase", "class_caption", "name"])
@pytest.mark.parametrize("value", ["two\nlines", "nul\0", " ", "x" * 201], ids=repr)
def test_texts_of_an_influencer_are_one_short_line(engine: Engine, field: str, value: str) -> None:
    with (
        transaction(engine) as session,
        pytest.raises(PermanentError, match="use one line of 1 to 200"),
    ):
        put_influencer(session, "demo", "anna", **{**ANNA, field: value})


def test_a_persona_with_a_nul_character_is_refused(engine: Engine) -> None:
    with pytest.raises(PermanentError, match="refused a value"), transaction(engine) as session:
        put_influencer(session, "demo", "anna", persona={"bio": "a\0b"}, **ANNA)
