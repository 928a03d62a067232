"""Workers that render the queue in a test, with servers of their own."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Engine, text

from influencerai_dagster.core.job_states import JobKind
from influencerai_dagster.core.sampling import ImageSampling
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.engines.comfyui.server import ServerTimes
from influencerai_dagster.engines.comfyui.server_pool import ServerPool
from influencerai_dagster.engines.comfyui.templates import fill_image_workflow, shipped_template
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.prompt_ids import prompt_id
from influencerai_dagster.generation.queue import WorkerRegistration
from influencerai_dagster.generation.render.images import ImageRenderer
from influencerai_dagster.generation.worker.options import WorkerOptions, WorkerReport
from influencerai_dagster.generation.worker.worker import RenderWorker
from influencerai_dagster_tests.testing.comfyui_server import ComfyUISimulator
from influencerai_dagster_tests.testing.jobs import TODAY
from influencerai_dagster_tests.testing.render_servers import OFTEN

SLOW_STEPS = 200
QUICK = {"idle_timeout_seconds": 0.0, "preemption_check_seconds": 0.25, "avoid_seconds": 0.5}


def work_until_idle(
    renderer: ImageRenderer,
    *,
    owner: str = "run-1",
    urls: Sequence[str] | None = None,
    times: ServerTimes = OFTEN,
    **rules: Any,
) -> WorkerReport:
    """Work with a server pool of its own, as every run has."""
    servers = urls or [server.client.url for server in renderer.render_session.server_pool]
    render_session = replace(
        renderer.render_session,
        server_pool=ServerPool(servers, times),
        stopping=threading.Event(),
        renders={},
        stopped=set(),
    )
    return RenderWorker(
        renderer.engine,
        renderer.store,
        render_session,
        type(renderer)(renderer.engine, renderer.store, render_session),
        registration=WorkerRegistration(owner, JobKind.IMAGE, TODAY.tenant, TODAY.day),
        options=WorkerOptions(**QUICK | rules),
    ).run()


def prompts_of(comfyui: ComfyUISimulator, *jobs: job_queue.Job) -> dict[str, dict[str, Any]]:
    """What the server did for the first three claims of these jobs."""
    wanted = {prompt_id(job.id, claim) for job in jobs for claim in (1, 2, 3)}
    prompts: dict[str, dict[str, Any]] = comfyui.stats()["prompts"]
    return {key: value for key, value in prompts.items() if key in wanted}


def post_prompt(comfyui: ComfyUISimulator, prompt: str, steps: int = 1) -> None:
    """Queue a prompt of somebody else."""
    sampling = ImageSampling(
        prompt="foreign",
        seed=1,
        steps=steps,
        width_px=64,
        height_px=64,
        base_model="v1-5-pruned-emaonly.safetensors",
    )
    workflow = fill_image_workflow(
        shipped_template("sd15_text_to_image"), sampling, filename_prefix=f"foreign/{prompt}"
    )
    with ComfyUIClient(comfyui.url) as client:
        client.submit(workflow, prompt_id=prompt, client_id="foreign")


def num_workers(engine: Engine) -> int:
    with transaction(engine) as session:
        return int(session.execute(text("SELECT count(*) FROM workers")).scalar_one())
