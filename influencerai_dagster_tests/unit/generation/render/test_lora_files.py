"""No workflow reaches a LoRA file of another tenant, however its name is written."""

import time
from typing import Any

import pytest

from influencerai_dagster.errors import PermanentError
from influencerai_dagster.generation.render.lora_files import refuse_foreign_loras

ID = "bella-0123456789ab"
OWN = "demo/mia-ba9876543210.safetensors"
ON_SERVER = (f"victim/{ID}.safetensors", OWN, "detail.safetensors", "styles/film.safetensors")


def refuse(**inputs: Any) -> None:
    workflow = {
        "7": {"class_type": "Custom", "inputs": {"model": ["1", 0], **inputs}},
        "lora1": {"class_type": "LoraLoader", "inputs": {"lora_name": OWN}},
    }
    refuse_foreign_loras(workflow, on_server=ON_SERVER, own={OWN})


HIDDEN: dict[str, Any] = {
    "plain": f"victim/{ID}.safetensors",
    "rgthree": {"on": True, "lora": f"victim/{ID}.safetensors"},
    "stack": [[f"victim/{ID}.safetensors", 1]],
    "key of an object": {f"victim/{ID}.safetensors": 1},
    "deep": [[[[{"a": [{"b": f"victim/{ID}.safetensors"}]}]]]],
    "tag in a text": f"a portrait <lora:victim/{ID}:1>, soft light",
    "tag without the folder": f"a portrait <lora:{ID}:1>",
    "line after it": f"victim/{ID}.safetensors:1\nfoo",
    "dot": f"./victim/{ID}.safetensors",
    "parent folder": f"a/../victim/{ID}.safetensors",
    "nested parents": f"a/b/../../victim/./{ID}.safetensors",
    "two slashes": f"victim//{ID}.safetensors",
    "backslash": f"victim\\{ID}.safetensors",
    "absolute": f"/srv/models/loras/victim/{ID}.safetensors",
    "other case": f"Victim/{ID.upper()}.SAFETENSORS",
    "full width": f"victim／{ID}.safetensors",
    "without the ending": f"victim/{ID}",
    "the operator's": "detail.safetensors",
    "the operator's in a folder": "styles/film",
}


@pytest.mark.parametrize("value", HIDDEN.values(), ids=HIDDEN)
def test_a_value_that_names_a_file_of_others_is_refused(value: Any) -> None:
    with pytest.raises(PermanentError, match=r"node 7 .Custom. names a LoRA file") as caught:
        refuse(anything=value)
    assert "victim" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [OWN, "a detailed film still", "victim of fashion", {"lora": OWN}, ["1", 0], 5, None, True],
    ids=str,
)
def test_other_values_are_none_of_its_business(value: Any) -> None:
    refuse(anything=value)


def test_thousands_of_files_and_long_texts_take_no_time() -> None:
    names = [f"tenant{number}/lora-{number:012x}.safetensors" for number in range(10_000)]
    inputs = {f"text{number}": "a/../" * 40_000 for number in range(5)}
    workflow = {"7": {"class_type": "Custom", "inputs": inputs}}
    started = time.process_time()
    refuse_foreign_loras(workflow, on_server=names, own=())
    assert time.process_time() - started < 5
