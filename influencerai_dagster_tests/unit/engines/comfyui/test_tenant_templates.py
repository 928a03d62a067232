"""A tenant's own workflow reads no file that its job does not name, and gives one output."""

import json
from typing import Any

import pytest

from influencerai_dagster.engines.comfyui.api_format import MAX_NODES
from influencerai_dagster.engines.comfyui.templates import (
    WorkflowTemplate,
    parse_template,
    shipped_template,
)
from influencerai_dagster.errors import PermanentError

IMAGE, VIDEO = "sd15_text_to_image", "svd_image_to_video"
VICTIM = "victim/bella-0123456789ab.safetensors"


def own(name: str, **added: dict[str, Any]) -> dict[str, Any]:
    """A copy of a shipped template with some nodes more."""
    nodes: dict[str, Any] = json.loads(json.dumps(dict(shipped_template(name).nodes)))
    return nodes | added


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def parse(nodes: dict[str, Any], *extra_nodes: str) -> WorkflowTemplate:
    return parse_template("own", json.dumps(nodes), extra_nodes)


FORBIDDEN = [
    node("LoadImage", image="victim/x.png [output]"),
    node("loadImage", image="victim/x.png"),
    node("LoadImageMask", image="victim/x.png", channel="red"),
    node("LoadImageOutput", image="victim/x.png"),
    node("LoadImageSetFromFolderNode", folder="victim"),
    node("LoadImageDataSetFromFolder", folder="victim"),
    node("LoadVideo", file="victim/x.mp4"),
    node("LoadAudio", audio="victim/x.mp3"),
    node("LoadLatent", latent="x"),
    node("Load3D", model_file="x.glb"),
    node("Preview3D", model_file="../../x"),
    node("WebcamCapture", image="x"),
    node("RecordAudio", audio="x"),
    node("LoraLoader", lora_name=VICTIM),
    node("LoraLoaderModelOnly", lora_name=VICTIM),
    node("LoraModelLoader", lora=VICTIM),
    node("CreateHookLora", lora_name=VICTIM),
    node("CreateHookLoraModelOnly", lora_name=VICTIM),
    node("HypernetworkLoader", hypernetwork_name="x"),
    node("DiffusersLoader", model_path="x"),
    node("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": VICTIM}),
    node("LoraStack", loras=[[VICTIM, 1]]),
    node("LoraTagLoader", text=f"<lora:{VICTIM}:1>"),
    node("StringConcatenate", string_a="victim/bella-01234", string_b="56789ab.safetensors"),
    node("StringReplace", string="victim/bel_la", find="_", replace=""),
    node("RegexReplace", string=VICTIM, regex_pattern="x", replace=""),
    node("VHS_LoadVideoPath", video="/srv/comfyui/output/victim/x.mp4"),
    node("VHS_LoadImagesPath", directory="/srv/comfyui/output/victim"),
    node("Image Load", image_path="/srv/x.png"),
    node("ImageFromPath", path="/srv/x.png"),
    node("Text Load Line From File", file_path="/etc/passwd"),
    node("ExecPython", code="import os"),
    node("SaveImageTextDataSetToFolder", folder_name="../../custom_nodes/x"),
    node("SaveImageDataSetToFolder", folder_name="../../x"),
    node("SaveLoRA", prefix="../../x"),
    node("LoraSave", filename_prefix="x"),
    node("CheckpointSave", filename_prefix="x"),
    node("SaveLatent", filename_prefix="x"),
    node("SaveSVGNode", filename_prefix="x"),
    node("TrainLoraNode", steps=1),
    node("FluxProUltraImageNode", prompt="x"),
    node("OpenAIDalle3", prompt="x"),
    node("GeminiNode", prompt="x"),
    node("KlingTextToVideoNode", prompt="x"),
    node("TorchCompileModel", backend="inductor"),
    node(" KSampler"),
    node("", x=1),
]


@pytest.mark.parametrize("forbidden", FORBIDDEN, ids=lambda item: str(item["class_type"]))
@pytest.mark.parametrize("name", [IMAGE, VIDEO])
def test_a_class_that_is_not_on_the_list_is_refused(name: str, forbidden: dict[str, Any]) -> None:
    with pytest.raises(PermanentError, match=r"take .* 66 out: .*COMFYUI_TENANT_NODES"):
        parse(own(name, **{"66": forbidden}))


def test_a_class_that_is_almost_on_the_list_is_named_with_the_right_one() -> None:
    with pytest.raises(PermanentError, match=r"Did you mean ConditioningZeroOut\?"):
        parse(own(IMAGE, **{"66": node("ConditioningZerOut")}))


def test_the_operator_can_allow_a_class_and_no_other() -> None:
    nodes = own(IMAGE, **{"66": node("Image Load", image_path="x")})
    parse(nodes, "Image Load")
    with pytest.raises(PermanentError, match="take ExecPython 67 out"):
        parse(nodes | {"67": node("ExecPython")}, "Image Load")


def test_a_saver_that_the_operator_allowed_may_be_the_only_one() -> None:
    nodes = own(IMAGE)
    nodes["7"] = node("Image Save", images=["6", 0], filename_prefix="x")
    parse(nodes, "Image Save")


@pytest.mark.parametrize(
    "added",
    [
        {"20": node("PreviewImage", images=["6", 0])},
        {"20": node("SaveImageWebsocket", images=["6", 0])},
        {"20": node("SaveAnimatedWEBP", images=["6", 0], filename_prefix="x")},
        {"20": node("RepeatLatentBatch", samples=["4", 0], amount=4)},
        {
            "20": node("RepeatLatentBatch", samples=["5", 0], amount=4),
            "21": node("LatentFromBatch", samples=["20", 0], batch_index=0, length=1),
            "6": node("VAEDecode", samples=["21", 0], vae=["1", 2]),
        },
    ],
    ids=["preview", "websocket", "animation beside", "batch that nothing uses", "one of a batch"],
)
def test_a_template_that_gives_one_image_is_taken(added: dict[str, Any]) -> None:
    parse(own(IMAGE, **added))


@pytest.mark.parametrize(
    ("added", "problem"),
    [
        (
            {"20": node("SaveImage", images=["6", 0], filename_prefix="x")},
            r"it has 2 SaveImage nodes \(7, 20\); keep the one that saves the result",
        ),
        (
            {"7": node("SaveAnimatedWEBP", images=["6", 0], filename_prefix="x")},
            "a SaveImage node is missing",
        ),
        (
            {"7": node("SaveAnimatedPNG", images=["6", 0], filename_prefix="x")},
            "take SaveAnimatedPNG 7 out",
        ),
        ({"7": node("PreviewImage", images=["6", 0])}, "a SaveImage node is missing"),
        (
            {"20": node("SaveVideo", video=["6", 0], filename_prefix="x")},
            "take SaveVideo 20 out: an image job gives one image",
        ),
        (
            {
                "20": node("RepeatLatentBatch", samples=["5", 0], amount=4),
                "6": node("VAEDecode", samples=["20", 0], vae=["1", 2]),
            },
            "take RepeatLatentBatch 20 out: it makes several images",
        ),
        (
            {
                "20": node("ImageBatch", image1=["6", 0], image2=["6", 0]),
                "7": node("SaveImage", images=["20", 0], filename_prefix="x"),
            },
            "take ImageBatch 20 out: it makes several images",
        ),
    ],
    ids=["two", "webp only", "apng", "preview only", "a video", "a batch", "a joined batch"],
)
def test_a_template_that_cannot_give_one_image_is_refused_before_it_renders(
    added: dict[str, Any], problem: str
) -> None:
    with pytest.raises(PermanentError, match=problem):
        parse(own(IMAGE, **added))


@pytest.mark.parametrize(
    ("saver", "problem"),
    [
        (node("SaveAnimatedWEBP", images=["6", 0], filename_prefix="x"), "SaveImage or SaveVideo"),
        (node("PreviewImage", images=["6", 0]), "SaveImage or SaveVideo node is missing"),
        (node("SaveVideo", video=["6", 0], filename_prefix="x"), None),
        (node("SaveWEBM", images=["6", 0], filename_prefix="x"), None),
        (node("SaveImage", images=["6", 0], filename_prefix="x"), None),
    ],
    ids=lambda item: item["class_type"] if isinstance(item, dict) else "",
)
def test_a_video_template_has_to_save_frames_or_a_video(
    saver: dict[str, Any], problem: str | None
) -> None:
    nodes = {key: value for key, value in own(VIDEO).items() if value["class_type"] != "SaveImage"}
    nodes["66"] = saver
    if problem is None:
        parse(nodes)
        return
    with pytest.raises(PermanentError, match=problem):
        parse(nodes)


def test_a_template_with_too_many_nodes_is_refused() -> None:
    more = {f"n{number}": node("PrimitiveInt", value=1) for number in range(MAX_NODES)}
    with pytest.raises(PermanentError, match=f"at most {MAX_NODES} are used"):
        parse(own(IMAGE, **more))
