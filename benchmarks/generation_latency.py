"""Latency from a submitted job to ComfyUI, when a worker is already waiting for jobs.

From `submit` returned to POST /prompt accepted, by the server's journal.
"""

import random
import time
from collections.abc import Sequence
from uuid import uuid4

import httpx

from benchmarks.comparisons import Comparison
from benchmarks.percentiles import percentile
from benchmarks.pipeline_stack import DAY, PipelineStack, image, running_stack, workflow
from benchmarks.worker_processes import idle_workers
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.generation import queue as job_queue
from influencerai_dagster.generation.prompt_ids import prompt_id

NUM_JOBS = 30
ROUNDS = 3
RENDER_SECONDS = 0.05
MAX_PAUSE_SECONDS = 0.3
_TENANT = "acme"
_PERCENTILES = {"p50": 0.5, "p95": 0.95}


def run() -> Sequence[Comparison]:
    """Measure jobs through the job queue and prompts posted directly, alternately."""
    with running_stack(1, seconds_per_step=RENDER_SECONDS, has_journal=True) as stack:
        stack.add_tenants(_TENANT)
        with idle_workers(stack, [_TENANT]), httpx.Client(trust_env=False) as http:
            _submit(stack, seed=0)  # fetches the server's node classes
            rounds = [
                [_alternate(stack, http, number) for number in range(NUM_JOBS)]
                for _ in range(ROUNDS)
            ]
        posted = stack.comfyui[0].times("posted")
    ours = [[posted[job] - sent for (job, sent), _ in pairs] for pairs in rounds]
    bare = [[posted[prompt] - sent for _, (prompt, sent) in pairs] for pairs in rounds]
    return [
        Comparison(
            name=f"job submitted to prompt accepted, warm, {label}",
            baseline_name="POST /prompt alone",
            unit="ms",
            measured=[1000 * percentile(values, share) for values in ours],
            baseline=[1000 * percentile(values, share) for values in bare],
            better="lower",
        )
        for label, share in _PERCENTILES.items()
    ]


Sent = tuple[str, float]
"""A prompt_id, and the time since 1970 at which its side began."""


def _alternate(stack: PipelineStack, http: httpx.Client, seed: int) -> tuple[Sent, Sent]:
    pair = _submit(stack, seed), _post(stack, http, seed)
    time.sleep(random.uniform(RENDER_SECONDS, MAX_PAUSE_SECONDS))  # noqa: S311 - no secret
    return pair


def _submit(stack: PipelineStack, seed: int) -> Sent:
    engine = stack.engine()
    with transaction(engine) as session:
        [job] = job_queue.submit(session, _TENANT, DAY, [image(seed)])
    submitted_at = time.time()
    engine.dispose()
    stack.completed_job(_TENANT, job.id)
    return prompt_id(job.id, 1), submitted_at


def _post(stack: PipelineStack, http: httpx.Client, seed: int) -> Sent:
    prompt = str(uuid4())
    body = {"prompt_id": prompt, "prompt": workflow(seed, filename_prefix=f"bare/{prompt}")}
    url = stack.comfyui[0].url
    started = time.time()
    http.post(f"{url}/prompt", json=body).raise_for_status()
    return prompt, started
