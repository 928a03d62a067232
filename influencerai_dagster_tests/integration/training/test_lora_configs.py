"""Training parameters: presets, a tenant's own, one run's own."""

from typing import Any

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import PRESETS
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.training.lora_configs import put_lora_config, resolve_lora_config


def test_a_tenant_without_configurations_gets_the_preset(engine: Engine) -> None:
    with transaction(engine) as session:
        assert resolve_lora_config(session, "demo", None, "sd15-face") == PRESETS["sd15-face"]
        assert (
            resolve_lora_config(session, "demo", "sdxl-face", "sd15-face") == PRESETS["sdxl-face"]
        )


def test_the_default_configuration_goes_before_the_preset(engine: Engine) -> None:
    with transaction(engine) as session:
        put_lora_config(
            session,
            "demo",
            "mine",
            preset="sdxl-face",
            overrides={"network_dim": 8},
            is_default=True,
        )
        found = resolve_lora_config(session, "demo", None, "sd15-face")
        assert found == PRESETS["sdxl-face"].override({"network_dim": 8})
        assert resolve_lora_config(session, "other", None, "sd15-face") == PRESETS["sd15-face"]


def test_overrides_of_a_run_go_before_those_of_the_configuration(engine: Engine) -> None:
    own = {"network_dim": 8, "max_train_steps": 10}
    with transaction(engine) as session:
        put_lora_config(session, "demo", "mine", preset="sd15-face", overrides=own)
        found = resolve_lora_config(
            session, "demo", "mine", "sd15-face", overrides={"max_train_steps": 20}
        )
    assert (found.network_dim, found.max_train_steps) == (8, 20)


def test_a_second_default_is_refused_and_names_the_rule(engine: Engine) -> None:
    with transaction(engine) as session:
        put_lora_config(session, "demo", "first", preset="sd15-face", is_default=True)
        put_lora_config(session, "other", "first", preset="sd15-face", is_default=True)
    with (
        pytest.raises(PermanentError, match="another default LoRA configuration"),
        transaction(engine) as session,
    ):
        put_lora_config(session, "demo", "second", preset="sd15-face", is_default=True)


def test_the_default_moves_when_the_old_one_is_put_back_first(engine: Engine) -> None:
    with transaction(engine) as session:
        put_lora_config(session, "demo", "first", preset="sd15-face", is_default=True)
        put_lora_config(session, "demo", "first", preset="sd15-face")
        put_lora_config(session, "demo", "second", preset="sdxl-face", is_default=True)
        assert resolve_lora_config(session, "demo", None, "sd15-face") == PRESETS["sdxl-face"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"preset": "sd99"}, "no training .* 'sd99'. The presets and", id="preset"),
        pytest.param({"overrides": {"network_dim": 0}}, "network_dim: .*found 0", id="value"),
        pytest.param(
            {"overrides": {"netwrok_dim": 8}},
            "Did you mean .network_dim.",
            id="field",
        ),
        pytest.param({"name": "../x"}, "configuration name .* is not allowed", id="name"),
        pytest.param({"tenant": "nobody"}, "tenant add nobody", id="tenant"),
    ],
)
def test_a_bad_configuration_says_what_is_bad(
    engine: Engine, changes: dict[str, Any], words: str
) -> None:
    arguments = {"tenant": "demo", "name": "mine", "preset": "sd15-face", **changes}
    with transaction(engine) as session, pytest.raises(PermanentError, match=words):
        put_lora_config(session, **arguments)


def test_a_configuration_of_another_tenant_is_unknown(engine: Engine) -> None:
    with transaction(engine) as session:
        put_lora_config(session, "demo", "mine", preset="sd15-face")
        with pytest.raises(PermanentError, match="no training preset or configuration 'mine'"):
            resolve_lora_config(session, "other", "mine", "sd15-face")
