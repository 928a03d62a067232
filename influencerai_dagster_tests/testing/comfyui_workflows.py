"""Small workflows that the simulator and a real ComfyUI both run."""

from io import BytesIO
from typing import Any
from uuid import uuid4

from PIL import Image

from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.event_dispatcher import EventDispatcher
from influencerai_dagster.engines.comfyui.runs import run_workflow
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.engines.comfyui.values import RenderRequest, RenderResult, Workflow


def new_id() -> str:
    """Return a prompt_id that no run has."""
    return str(uuid4())


def plain_workflow(prompt_id: str, *, color: int = 0x336699) -> dict[str, Any]:
    """Save an image of one colour: needs no model and takes milliseconds."""
    size = {"width": 64, "height": 64, "batch_size": 1}
    prefix = f"contract/{prompt_id}"
    return {
        "1": {"class_type": "EmptyImage", "inputs": {**size, "color": color}},
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": prefix}},
    }


def sampled_workflow(client: ComfyUIClient, prompt_id: str, *, steps: int) -> dict[str, Any]:
    """Fill the SD1.5 template for this server; every prompt_id has its own seed."""
    sampling = ImageSampling(
        prompt="a red barn",
        seed=int(prompt_id[:8], 16),
        steps=steps,
        sampler_name="euler",
        scheduler="normal",
        width_px=64,
        height_px=64,
        base_model=sd15_checkpoint(client),
    )
    return fill_image_workflow(
        shipped_template("sd15_text_to_image"), sampling, filename_prefix=f"contract/{prompt_id}"
    )


def sd15_checkpoint(client: ComfyUIClient) -> str:
    """Return a checkpoint of SD1.5 that this server has, by its name."""
    names = client.models("checkpoints")
    found = [name for name in names if "sd15" in name or "v1-5" in name]
    assert found, f"the server has no SD1.5 checkpoint (v1-5… or …sd15…) among {names}"
    return found[0]


def png(color: str) -> bytes:
    """Return a small PNG of one colour."""
    buffer = BytesIO()
    Image.new("RGB", (64, 64), color).save(buffer, "PNG")
    return buffer.getvalue()


def open_image(content: bytes) -> Image.Image:
    """Return a decoded image."""
    image = Image.open(BytesIO(content))
    image.load()
    return image


def run_alone(
    client: ComfyUIClient,
    workflow: Workflow,
    *,
    prompt_id: str,
    timeout_seconds: float,
    **options: Any,
) -> RenderResult:
    """Run a workflow with a progress socket of its own."""
    with EventDispatcher(client.connection) as dispatcher:
        request = RenderRequest(workflow, prompt_id, timeout_seconds, **options)
        return run_workflow(client, dispatcher, request)
