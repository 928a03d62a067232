"""One simulated ComfyUI for a folder's tests, and a render session on it."""

import shutil
from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from influencerai_dagster.core.lora_training import BaseModelFamily
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.render.session import RenderSession
from influencerai_dagster.simulators.base_models import write_simulated_base_model
from influencerai_dagster.simulators.comfyui.safetensors_header import write_placeholder
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import claim_one
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import submit

OFTEN = ServerTimes(probe_seconds=0.25, recheck_seconds=0.1)
"""How often the tests probe a server."""
BASE_MODELS = {
    "v1-5-pruned-emaonly.safetensors": BaseModelFamily.SD15,
    "sd_xl_base_1.0.safetensors": BaseModelFamily.SDXL,
    "their-own-xl.safetensors": BaseModelFamily.SDXL,
    "their-own-sd.safetensors": BaseModelFamily.SD15,
}
UPSCALE_MODELS = ("RealESRGAN_x4plus.pth", "2x_small.pth")


@pytest.fixture(scope="session")
def comfyui_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComfyUISimulator]:
    root = tmp_path_factory.mktemp("comfyui")
    for name, family in BASE_MODELS.items():
        write_simulated_base_model(root / "models" / "checkpoints" / name, family)
    write_simulated_base_model(root / "models" / "checkpoints" / "svd_xt.safetensors", "svd")
    for name in UPSCALE_MODELS:
        write_placeholder(root / "models" / "upscale_models" / name, "ESRGAN")
    (root / "models" / "loras").mkdir()
    simulator = ComfyUISimulator(root, {"seconds_per_step": 0.001}, ())
    yield simulator
    simulator.stop()


@pytest.fixture
def second_comfyui(comfyui_simulator: ComfyUISimulator) -> Iterator[ComfyUISimulator]:
    """Another server that has the models of the first."""
    root = comfyui_simulator.root / "second"
    root.mkdir(exist_ok=True)
    (root / "models").symlink_to(comfyui_simulator.models_dir)
    simulator = ComfyUISimulator(root, {"seconds_per_step": 0.001}, ())
    yield simulator
    simulator.stop()
    (root / "models").unlink()


@pytest.fixture
def bare(comfyui_simulator: ComfyUISimulator) -> Iterator[ComfyUISimulator]:
    """Another server, which shares the LoRAs of the first and has one base model alone."""
    root = comfyui_simulator.root / "bare"
    models = root / "models"
    models.mkdir(parents=True)
    (models / "loras").symlink_to(comfyui_simulator.models_dir / "loras")
    name = "v1-5-pruned-emaonly.safetensors"
    write_simulated_base_model(models / "checkpoints" / name, BASE_MODELS[name])
    simulator = ComfyUISimulator(root, {"seconds_per_step": 0.001}, ())
    yield simulator
    simulator.stop()
    shutil.rmtree(root)


@pytest.fixture
def comfyui(comfyui_simulator: ComfyUISimulator) -> Iterator[ComfyUISimulator]:
    """The simulator, without faults before and after."""
    yield comfyui_simulator
    comfyui_simulator.faults(reset=True)


def new_render_session(comfyui: ComfyUISimulator, *more: str) -> RenderSession:
    """A session on the simulator and maybe other servers; each worker needs one of its own."""
    return RenderSession(
        server_pool=ServerPool((comfyui.url, *more), OFTEN),
        lora_dir=comfyui.models_dir / "loras",
        timeout_seconds=30,
    )


@pytest.fixture
def render_session(comfyui: ComfyUISimulator) -> Iterator[RenderSession]:
    render_session = new_render_session(comfyui)
    yield render_session
    render_session.server_pool.close()


@pytest.fixture
def renderer(
    engine: Engine, object_store: ObjectStore, render_session: RenderSession
) -> ImageRenderer:
    return ImageRenderer(engine, object_store, render_session)


def completed_image(renderer: ImageRenderer, server: str, tenant: str = "demo") -> job_queue.Job:
    """A completed image job."""
    (job,) = submit(renderer.engine, "bella", tenant=tenant)
    claim = claim_one(renderer.engine)
    output, manifest = renderer.render(claim, server)
    with transaction(renderer.engine) as session:
        job_queue.complete(session, claim.id, claim.lease_token, output, manifest.object_key)
    return job
