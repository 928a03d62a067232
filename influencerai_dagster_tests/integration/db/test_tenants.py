"""Tenants and influencers."""

from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.scheduling import GpuShareRow
from influencerai_dagster.db.tenants import (
    add_tenant,
    get_influencer,
    gpu_seconds_used,
    influencer_of_dataset,
    list_tenants,
    put_influencer,
    require_tenant,
    set_gpu_weight,
)
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

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


def test_a_tenant_has_weight_one_until_it_is_given_another(engine: Engine) -> None:
    with transaction(engine) as session:
        add_tenant(session, "third", gpu_weight=2.5)
        add_tenant(session, "third", gpu_weight=7)
        assert require_tenant(session, "third").gpu_weight == 2.5
        set_gpu_weight(session, "demo", 0.5)
    with transaction(engine) as session:
        assert [tenant.gpu_weight for tenant in list_tenants(session)] == [0.5, 1, 2.5]


@pytest.mark.parametrize("weight", [0.0, -1.0, 1000.5, float("nan"), float("inf")])
def test_a_weight_that_shares_nothing_is_refused(engine: Engine, weight: float) -> None:
    with transaction(engine) as session:
        with pytest.raises(PermanentError, match="use a number above 0 and at most 1000"):
            add_tenant(session, "third", gpu_weight=weight)
        with pytest.raises(PermanentError, match="use a number above 0 and at most 1000"):
            set_gpu_weight(session, "demo", weight)


def test_the_weight_of_an_unknown_tenant_is_refused(engine: Engine) -> None:
    with (
        transaction(engine) as session,
        pytest.raises(PermanentError, match="`influencerai tenant add nobody`"),
    ):
        set_gpu_weight(session, "nobody", 2)


def test_the_gpu_seconds_of_tenants_that_had_any_are_told(engine: Engine) -> None:
    with transaction(engine) as session:
        session.add(GpuShareRow(tenant_id="demo", used_seconds=12.5))
    with transaction(engine) as session:
        assert gpu_seconds_used(session) == {"demo": 12.5}


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
        pytest.raises(PermanentError, match="Use one line of 1 to 200"),
    ):
        put_influencer(session, "demo", "anna", **{**ANNA, field: value})


def test_a_trigger_phrase_may_have_the_blanks_and_joiners_of_any_language(engine: Engine) -> None:
    phrase = (
        "bella\u3000\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f4bb"
    )
    with transaction(engine) as session:
        put_influencer(session, "demo", "anna", **{**ANNA, "trigger_phrase": phrase})
    with transaction(engine) as session:
        assert get_influencer(session, "demo", "anna").trigger_phrase == phrase


def test_a_persona_with_a_nul_character_is_refused(engine: Engine) -> None:
    with pytest.raises(PermanentError, match="refused a value"), transaction(engine) as session:
        put_influencer(session, "demo", "anna", persona={"bio": "a\0b"}, **ANNA)
