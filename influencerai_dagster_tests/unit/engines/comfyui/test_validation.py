"""Checking workflows before they are sent, against recorded and made-up node classes."""

import time
from typing import Any

import httpx
import pytest

from influencerai_dagster.engines.comfyui.object_info import ObjectInfo
from influencerai_dagster.engines.comfyui.validation import validate_workflow
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.comfyui_recordings import (
    answering,
    recorded_body,
    recording_names,
)


def _simple(*outputs: str, is_output: bool = False, **inputs: str) -> dict[str, Any]:
    required = {name: [kind, {}] for name, kind in inputs.items()}
    return {"input": {"required": required}, "output": list(outputs), "output_node": is_output}


@pytest.fixture(scope="module")
def object_info() -> ObjectInfo:
    """The recorded classes, and those that were not recorded but the test's workflow needs."""
    body: dict[str, Any] = {}
    for name in recording_names("http/object_info_*"):
        body |= recorded_body(name)
    body["CLIPTextEncode"] = _simple("CONDITIONING", text="STRING", clip="CLIP")
    body["EmptyLatentImage"] = _simple("LATENT", width="INT", height="INT")
    body["CLIPSetLastLayer"] = _simple("CLIP", clip="CLIP", stop_at_clip_layer="INT")
    body["VAEDecode"] = _simple("IMAGE", samples="LATENT", vae="VAE")
    body["Any"] = _simple("*", value="*")
    body["Old"] = {"input": {"required": {"x": ["BOOLEAN"], "y": "odd"}}, "output": [["a", "b"]]}
    with answering(httpx.Response(200, json=body)) as client:
        return client.object_info()


def _workflow() -> dict[str, Any]:
    def node(name: str, **inputs: Any) -> dict[str, Any]:
        return {"class_type": name, "inputs": inputs}

    return {
        "1": node("CheckpointLoaderSimple", ckpt_name="random_sd15.safetensors"),
        "2": node("CLIPTextEncode", text="a", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="b", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=64, height=64),
        "5": node(
            "KSampler", model=["1", 0], positive=["2", 0], negative=["3", 0],
            latent_image=["4", 0], seed=1, steps=2, cfg=7.0, sampler_name="euler",
            scheduler="normal", denoise=1.0,
        ),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="x"),
    }  # fmt: skip


def test_a_workflow_that_fits_passes(object_info: ObjectInfo) -> None:
    validate_workflow(_workflow(), object_info)


@pytest.mark.parametrize(
    ("node_id", "inputs", "problem"),
    [
        ("1", {"ckpt_name": "no"}, "'ckpt_name' is 'no', but may be one of corrupt.safetensors"),
        ("5", {"sampler_name": "no"}, "euler_ancestral_cfg_pp, heun and 37 more"),
        ("5", {"steps": 10001}, "'steps' is 10001, but at most 10000"),
        ("5", {"cfg": -1.0}, "'cfg' is -1.0, but at least 0.0"),
        ("5", {"seed": 2**64}, "at most 18446744073709551615"),
        ("5", {"steps": "2"}, "'steps' is '2', but needs a real INT"),
        ("5", {"steps": 2.0}, "needs a real INT"),
        ("5", {"steps": True}, "needs a real INT"),
        ("2", {"text": 5}, "needs a real STRING"),
        ("5", {"model": ["99", 0]}, "node '99', which is not in the workflow"),
        ("5", {"model": ["1", 3]}, "slot 3 of CheckpointLoaderSimple 1; it has 3"),
        ("5", {"model": ["1", 2]}, "takes MODEL, but CheckpointLoaderSimple 1 gives VAE"),
        ("5", {"model": "1"}, "needs a link to a node that gives MODEL"),
    ],
)
def test_a_problem_is_told_with_node_and_input(
    object_info: ObjectInfo, node_id: str, inputs: dict[str, Any], problem: str
) -> None:
    workflow = _workflow()
    workflow[node_id]["inputs"] |= inputs
    with pytest.raises(PermanentError) as caught:
        validate_workflow(workflow, object_info)
    assert problem in str(caught.value)
    assert f"node {node_id} ({workflow[node_id]['class_type']})" in str(caught.value)


def test_choices_of_the_newer_schema_style_are_checked(object_info: ObjectInfo) -> None:
    inputs = {"video": ["2", 0], "filename_prefix": "x", "format": "mp4", "codec": "av1"}
    workflow = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "uploaded/later.png"}},
        "2": {"class_type": "CreateVideo", "inputs": {"images": ["1", 0], "fps": 8.0}},
        "3": {"class_type": "SaveVideo", "inputs": inputs},
    }
    with pytest.raises(PermanentError, match="'codec' is 'av1', but may be one of auto, h264"):
        validate_workflow(workflow, object_info)
    inputs["codec"] = "h264"
    validate_workflow(workflow, object_info)


def test_all_problems_are_told_at_once(object_info: ObjectInfo) -> None:
    workflow = _workflow()
    del workflow["5"]["inputs"]["seed"]
    workflow["1"]["inputs"]["ckpt_name"] = "no"
    workflow["9"] = {"class_type": "NoSuchNode", "inputs": {}}
    with pytest.raises(PermanentError) as caught:
        validate_workflow(workflow, object_info)
    for problem in ("'seed' is missing", "'ckpt_name' is 'no'", "no node class 'NoSuchNode'"):
        assert problem in str(caught.value)


def test_a_node_that_no_output_needs_is_checked_for_its_class_only(
    object_info: ObjectInfo,
) -> None:
    workflow = _workflow() | {"9": {"class_type": "KSampler", "inputs": {}}}
    validate_workflow(workflow, object_info)
    workflow["9"] = {"class_type": "NoSuchNode", "inputs": {}}
    with pytest.raises(PermanentError, match="node 9"):
        validate_workflow(workflow, object_info)


def test_a_workflow_without_output_is_refused(object_info: ObjectInfo) -> None:
    workflow = _workflow()
    del workflow["7"]
    with pytest.raises(PermanentError, match="no output node"):
        validate_workflow(workflow, object_info)


def test_a_cycle_is_named(object_info: ObjectInfo) -> None:
    workflow = _workflow()
    workflow["8"] = {
        "class_type": "LoraLoader",
        "inputs": {
            "model": ["8", 0], "clip": ["1", 1], "lora_name": "random_style.safetensors",
            "strength_model": 1.0, "strength_clip": 1.0,
        },
    }  # fmt: skip
    workflow["5"]["inputs"]["model"] = ["8", 0]
    with pytest.raises(PermanentError, match="nodes 8 wait for their own result"):
        validate_workflow(workflow, object_info)


def test_a_long_chain_is_checked_in_time_that_grows_with_its_length(
    object_info: ObjectInfo,
) -> None:
    def seconds(length: int) -> float:
        workflow, last = _workflow(), ["1", 1]
        for number in range(length):
            inputs = {"clip": last, "stop_at_clip_layer": -1}
            workflow[f"c{number}"] = {"class_type": "CLIPSetLastLayer", "inputs": inputs}
            last = [f"c{number}", 0]
        workflow["2"]["inputs"]["clip"] = last
        tries = []
        for _ in range(3):
            started = time.thread_time()
            validate_workflow(workflow, object_info)
            tries.append(time.thread_time() - started)
        return min(tries)  # the others had a collection of garbage, or a busy machine

    seconds(10)
    # Twenty times the nodes took four hundred times as long.
    assert seconds(10_000) < 80 * max(seconds(500), 0.002)


def test_wildcards_and_odd_specs_of_custom_nodes_are_left_to_the_server(
    object_info: ObjectInfo,
) -> None:
    workflow = _workflow()
    workflow["8"] = {"class_type": "Any", "inputs": {"value": ["9", 0]}}
    workflow["9"] = {"class_type": "Old", "inputs": {"x": True, "y": {"any": "thing"}}}
    workflow["7"]["inputs"]["filename_prefix"] = ["8", 0]
    workflow["5"]["inputs"]["scheduler"] = ["9", 0]
    validate_workflow(workflow, object_info)


@pytest.mark.parametrize(
    "node", [None, 5, {}, {"class_type": "KSampler"}, {"class_type": [], "inputs": {}}]
)
def test_a_node_of_another_form_is_a_problem_and_no_crash(
    object_info: ObjectInfo, node: Any
) -> None:
    with pytest.raises(PermanentError, match="node 9"):
        validate_workflow(_workflow() | {"9": node}, object_info)
