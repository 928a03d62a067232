"""Templates: reading hostile and foreign ones, and filling them by following links."""

import json
from typing import Any

import pytest

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.sampling import (
    ImageSampling,
    LoraUse,
    UpscaleSampling,
    VideoSampling,
)
from influencerai_dagster.engines.comfyui.api_format import MAX_TEMPLATE_BYTES
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    fill_image_workflow,
    fill_upscale_workflow,
    fill_video_workflow,
    image_nodes,
    parse_template,
    shipped_template,
    shipped_template_names,
    workflow_sha256,
)
from influencerai_dagster.errors import PermanentError

IMAGE_TEMPLATES = ("sd15_text_to_image", "sdxl_text_to_image", "flux_text_to_image")
PREFIX = "demo/2026-11-23/0f8fad5b-1"
SAMPLING = ImageSampling(
    prompt="bella on a beach",
    negative_prompt="blurry",
    seed=2**64 - 1,
    steps=3,
    cfg=5,
    sampler_name="euler",
    scheduler="simple",
    denoise=1,
    width_px=64,
    height_px=128,
    base_model="base.safetensors",
)
LORAS = (
    LoraUse(lora_name="demo/a.safetensors", strength_model=0.5, strength_clip=0.25),
    LoraUse(lora_name="demo/b.safetensors", strength_model=1, strength_clip=-1),
)


def _nodes(workflow: dict[str, Any], node_class: str) -> list[dict[str, Any]]:
    return [node["inputs"] for node in workflow.values() if node["class_type"] == node_class]


def _only(workflow: dict[str, Any], node_class: str) -> dict[str, Any]:
    (node,) = _nodes(workflow, node_class)
    return node


def _copy_of(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(shipped_template(name).nodes))
    return content


def _parse(workflow: dict[str, Any]) -> WorkflowTemplate:
    return parse_template("own", json.dumps(workflow))


def test_the_shipped_templates_are_named() -> None:
    assert shipped_template_names() == tuple(
        sorted([*IMAGE_TEMPLATES, "svd_image_to_video", "upscale_image"])
    )
    with pytest.raises(PermanentError, match="sd15_text_to_image"):
        shipped_template("../sd15_text_to_image")


@pytest.mark.parametrize("name", IMAGE_TEMPLATES)
def test_every_parameter_of_an_image_reaches_its_node(name: str) -> None:
    workflow = fill_image_workflow(shipped_template(name), SAMPLING, filename_prefix=PREFIX)
    sampler = _only(workflow, "KSampler")
    expected: dict[str, Any] = {"seed": 2**64 - 1, "steps": 3, "cfg": 5.0, "denoise": 1.0}
    expected |= {"sampler_name": "euler", "scheduler": "simple"}
    assert {key: sampler[key] for key in expected} == expected
    assert isinstance(sampler["cfg"], float)
    assert isinstance(sampler["denoise"], float)
    positive, negative = _nodes(workflow, "CLIPTextEncode")
    assert (positive["text"], negative["text"]) == ("bella on a beach", "blurry")
    latent = workflow[sampler["latent_image"][0]]["inputs"]
    assert latent == {"width": 64, "height": 128, "batch_size": 1}
    assert _only(workflow, "SaveImage")["filename_prefix"] == PREFIX
    assert "base.safetensors" in {
        value for node in workflow.values() for value in map(str, node["inputs"].values())
    }


@pytest.mark.parametrize("name", IMAGE_TEMPLATES)
@pytest.mark.parametrize("count", [0, 1, 2])
def test_loras_are_chained_between_the_base_model_and_everything_it_fed(
    name: str, count: int
) -> None:
    template = shipped_template(name)
    sampling = SAMPLING.model_copy(update={"loras": LORAS[:count]})
    workflow = fill_image_workflow(template, sampling, filename_prefix=PREFIX)
    assert len(_nodes(workflow, "LoraLoader")) == count
    link = _only(workflow, "KSampler")["model"]
    encoders = [node["clip"] for node in _nodes(workflow, "CLIPTextEncode")]
    for lora in reversed(LORAS[:count]):
        assert all(clip == [link[0], 1] for clip in encoders)
        loader = workflow[link[0]]["inputs"]
        assert loader["lora_name"] == lora.lora_name
        assert loader["strength_model"] == lora.strength_model
        assert loader["strength_clip"] == lora.strength_clip
        link, encoders = loader["model"], [loader["clip"]]
    found = image_nodes(template.graph)
    assert (tuple(link), {tuple(clip) for clip in encoders}) == (found.model, {found.clip})


def test_loras_go_before_clip_skip_and_model_patches_of_an_own_template() -> None:
    own = _copy_of("sd15_text_to_image")
    own["8"] = {
        "class_type": "CLIPSetLastLayer",
        "inputs": {"clip": ["1", 1], "stop_at_clip_layer": -2},
    }
    own["lora1"] = {"class_type": "FreeU_V2", "inputs": {"model": ["1", 0], "b1": 1.3}}
    own["2"]["inputs"]["clip"] = own["3"]["inputs"]["clip"] = ["8", 0]
    own["5"]["inputs"]["model"] = ["lora1", 0]
    sampling = SAMPLING.model_copy(update={"loras": LORAS[:1]})
    workflow = fill_image_workflow(_parse(own), sampling, filename_prefix=PREFIX)
    assert workflow["lora1"]["class_type"] == "FreeU_V2"
    (lora_id,) = [key for key, node in workflow.items() if node["class_type"] == "LoraLoader"]
    assert workflow["lora1"]["inputs"]["model"] == [lora_id, 0]
    assert workflow["8"]["inputs"]["clip"] == [lora_id, 1]
    assert workflow["2"]["inputs"]["clip"] == ["8", 0]
    assert workflow["6"]["inputs"]["vae"] == ["1", 2]


def test_filling_leaves_the_template_as_it_is() -> None:
    template = shipped_template("sd15_text_to_image")
    before = workflow_sha256(template.nodes)
    sampling = SAMPLING.model_copy(update={"loras": LORAS})
    fill_image_workflow(template, sampling, filename_prefix=PREFIX)
    assert workflow_sha256(template.nodes) == before


def test_the_hash_of_a_workflow_is_of_its_content_and_not_of_its_order() -> None:
    workflow = dict(shipped_template("sd15_text_to_image").nodes)
    turned = dict(reversed(workflow.items()))
    assert workflow_sha256(turned) == workflow_sha256(workflow)
    assert len(workflow_sha256(workflow)) == 64
    filled = fill_image_workflow(
        shipped_template("sd15_text_to_image"), SAMPLING, filename_prefix=PREFIX
    )
    assert workflow_sha256(filled) != workflow_sha256(workflow)


def test_every_parameter_of_a_video_reaches_its_node() -> None:
    sampling = VideoSampling(
        seed=7, steps=4, cfg=3, min_cfg=1.5, width_px=64, height_px=96, num_frames=5, fps=8,
        motion_bucket_id=99, augmentation_level=1, base_model="svd.safetensors",
    )  # fmt: skip
    workflow = fill_video_workflow(
        shipped_template("svd_image_to_video"),
        sampling,
        image_name="demo/first.png",
        filename_prefix=PREFIX,
    )
    sampler = _only(workflow, "KSampler")
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (7, 4, 3.0)
    assert (sampler["sampler_name"], sampler["scheduler"]) == ("euler", "karras")
    conditioning = _only(workflow, "SVD_img2vid_Conditioning")
    expected = {"width": 64, "height": 96, "video_frames": 5, "motion_bucket_id": 99, "fps": 8}
    assert {key: conditioning[key] for key in expected} == expected
    assert isinstance(conditioning["augmentation_level"], float)
    assert _only(workflow, "VideoLinearCFGGuidance")["min_cfg"] == 1.5
    assert _only(workflow, "LoadImage")["image"] == "demo/first.png"
    assert _only(workflow, "ImageOnlyCheckpointLoader")["ckpt_name"] == "svd.safetensors"
    assert _only(workflow, "SaveImage")["filename_prefix"] == PREFIX


UPSCALING = UpscaleSampling(upscale_model="4x.pth", source_width_px=64, source_height_px=96)


def test_every_parameter_of_an_upscale_reaches_its_node() -> None:
    workflow = fill_upscale_workflow(
        shipped_template("upscale_image"),
        UPSCALING,
        image_name="demo/image.png",
        filename_prefix=PREFIX,
    )
    assert _only(workflow, "LoadImage")["image"] == "demo/image.png"
    assert _only(workflow, "UpscaleModelLoader")["model_name"] == "4x.pth"
    assert _only(workflow, "SaveImage")["filename_prefix"] == PREFIX


def test_an_image_that_is_enlarged_after_its_sampler_is_still_an_image() -> None:
    own = _copy_of("sd15_text_to_image")
    own["20"] = {"class_type": "UpscaleModelLoader", "inputs": {"model_name": "4x.pth"}}
    own["21"] = {
        "class_type": "ImageUpscaleWithModel",
        "inputs": {"upscale_model": ["20", 0], "image": ["6", 0]},
    }
    own["7"]["inputs"]["images"] = ["21", 0]
    assert _parse(own).kind is JobKind.IMAGE


def test_an_image_may_be_sharpened_before_it_is_enlarged() -> None:
    own = _copy_of("upscale_image")
    own["9"] = {"class_type": "ImageSharpen", "inputs": {"image": ["1", 0]}}
    own["3"]["inputs"]["image"] = ["9", 0]
    workflow = fill_upscale_workflow(
        _parse(own), UPSCALING, image_name="x.png", filename_prefix=PREFIX
    )
    assert _only(workflow, "LoadImage")["image"] == "x.png"


def test_the_first_frame_may_be_scaled_by_an_own_template() -> None:
    own = _copy_of("svd_image_to_video")
    own["9"] = {"class_type": "ImageScale", "inputs": {"image": ["2", 0], "width": 64}}
    own["3"]["inputs"]["init_image"] = ["9", 0]
    workflow = fill_video_workflow(
        _parse(own), VideoSampling(seed=1), image_name="x.png", filename_prefix=PREFIX
    )
    assert _only(workflow, "LoadImage")["image"] == "x.png"


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "/etc/cron",
        "../out",
        "a/../b",
        "a//b",
        "a/.hidden",
        "C:\\x",
        "a\\b",
        "a\nb",
        "a\0b",
        "ä",
        "%date%",
    ],
)
def test_a_prefix_that_may_leave_the_output_folder_is_refused(prefix: str) -> None:
    template = shipped_template("sd15_text_to_image")
    with pytest.raises(PermanentError, match="filename_prefix"):
        fill_image_workflow(template, SAMPLING, filename_prefix=prefix)


def test_every_saving_node_of_an_own_template_gets_the_prefix() -> None:
    own = _copy_of("sd15_text_to_image")
    own["20"] = {
        "class_type": "SaveAnimatedWEBP",
        "inputs": {"images": ["6", 0], "filename_prefix": "../../etc/x"},
    }
    workflow = fill_image_workflow(_parse(own), SAMPLING, filename_prefix=PREFIX)
    assert workflow["20"]["inputs"]["filename_prefix"] == PREFIX


def test_a_template_for_the_other_kind_is_refused() -> None:
    with pytest.raises(PermanentError, match="it makes videos"):
        fill_image_workflow(
            shipped_template("svd_image_to_video"), SAMPLING, filename_prefix=PREFIX
        )
    with pytest.raises(PermanentError, match="SVD_img2vid_Conditioning node is missing"):
        fill_video_workflow(
            shipped_template("sd15_text_to_image"),
            VideoSampling(seed=1),
            image_name="x.png",
            filename_prefix=PREFIX,
        )
    with pytest.raises(PermanentError, match="it makes upscales"):
        fill_image_workflow(shipped_template("upscale_image"), SAMPLING, filename_prefix=PREFIX)
    with pytest.raises(PermanentError, match=r"it makes images.* needs a template with Image"):
        fill_upscale_workflow(
            shipped_template("sd15_text_to_image"),
            UPSCALING,
            image_name="x.png",
            filename_prefix=PREFIX,
        )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"\xff\xfe{}", "not JSON in UTF-8", id="no UTF-8"),
        pytest.param("{", "not JSON", id="cut"),
        pytest.param("", "not JSON", id="empty"),
        pytest.param('{"1": NaN}', "NaN is not a number", id="NaN"),
        pytest.param("[" * 100_000, "nested too deeply", id="deep"),
        pytest.param('{"1":' * 600 + "1" + "}" * 600, "at most 20 levels", id="copied deep"),
        pytest.param(" " * (MAX_TEMPLATE_BYTES + 1), "at most 1048576", id="large"),
        pytest.param("[]", "not an object", id="list"),
        pytest.param("{}", "not an object", id="no node"),
        pytest.param("null", "not an object", id="null"),
        pytest.param('{"nodes": [], "links": []}', "Export \\(API\\)", id="editor format"),
        pytest.param('{"1": 5}', "node '1' has no class_type", id="node is a number"),
        pytest.param('{"1": {"class_type": "X"}}', "no inputs", id="no inputs"),
        pytest.param('{"1": {"class_type": 1, "inputs": {}}}', "class_type", id="class is 1"),
        pytest.param('{"prompt": {}}', "node 'prompt'", id="body of POST /prompt"),
    ],
)
def test_what_is_no_workflow_is_refused(content: str | bytes, problem: str) -> None:
    with pytest.raises(PermanentError, match=problem) as caught:
        parse_template("own", content)
    assert "'own'" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "problem"),
    [
        ("sd15_text_to_image", {"5": None}, "0 KSampler nodes"),
        ("sd15_text_to_image", {"7": None}, "a SaveImage node is missing"),
        ("sd15_text_to_image", {"5.model": 3}, "CheckpointLoaderSimple .* node is missing"),
        ("sd15_text_to_image", {"5.model": ["6", 0]}, "CheckpointLoaderSimple .* VAEDecode"),
        ("sd15_text_to_image", {"5.positive": "text"}, "CLIPTextEncode node is missing"),
        ("sd15_text_to_image", {"5.negative": ["2", 0]}, "feeds positive and negative"),
        ("sd15_text_to_image", {"5.latent_image": ["2", 0]}, "EmptyLatentImage .* missing"),
        ("sd15_text_to_image", {"5.model": ["99", 0]}, "'99', which is not in the workflow"),
        ("sd15_text_to_image", {"5.model": ["5", 0]}, "feeds itself"),
        ("sd15_text_to_image", {"2.clip": "x"}, "'clip' of CLIPTextEncode 2 is not linked"),
        ("svd_image_to_video", {"3.init_image": "x.png"}, "LoadImage node is missing"),
        ("upscale_image", {"3.image": "x.png"}, "LoadImage node is missing"),
        ("upscale_image", {"3.upscale_model": "4x.pth"}, "UpscaleModelLoader node is missing"),
        ("upscale_image", {"4": None}, "a SaveImage node is missing"),
        ("svd_image_to_video", {"5.latent_image": ["2", 0]}, "SVD_img2vid_Conditioning .* missing"),
    ],
)
def test_a_missing_node_is_named_with_the_reason(
    name: str, changes: dict[str, Any], problem: str
) -> None:
    own = _copy_of(name)
    for place, value in changes.items():
        node_id, _, input_name = place.partition(".")
        if input_name:
            own[node_id]["inputs"][input_name] = value
        else:
            del own[node_id]
    with pytest.raises(PermanentError, match=problem):
        _parse(own)
