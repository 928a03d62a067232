"""Render and save images with a bare asyncio client: the baseline of generation.

It posts prompts, hears on one socket for each server that they ended, fetches the images and puts
them to S3, all at once, and keeps each server's queue filled meanwhile. It has no job queue, checks
nothing, tries nothing again and writes nothing down: what it spends is what has to be spent.
"""

import asyncio
import json
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
from websockets.asyncio.client import connect

from benchmarks.pipeline_stack import PipelineStack, workflow
from benchmarks.servers import BUCKET

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_QUEUED_PER_SERVER = 3  # one renders, two wait; more did not make it faster
_S3_THREADS = 8


@dataclass(frozen=True)
class Spent:
    """What a side took for all its images."""

    seconds: float
    cpu_seconds: float


def render_bare(stack: PipelineStack, seeds: Sequence[int], prefix: str) -> Spent:
    """Render and save one image for each seed.

    Args:
        stack: where.
        seeds: of the images.
        prefix: of the names of files and objects; another one for each call.
    """
    prompts = deque(
        {"prompt_id": str(uuid4()), "prompt": workflow(seed, filename_prefix=f"{prefix}/{seed}")}
        for seed in seeds
    )
    return asyncio.run(_render(stack, prompts, prefix))


async def _render(stack: PipelineStack, prompts: deque[dict[str, Any]], prefix: str) -> Spent:
    expected = len(prompts)
    s3 = stack.s3.store().client
    with ThreadPoolExecutor(_S3_THREADS) as threads:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            started, cpu_started = time.perf_counter(), time.process_time()
            clients = [
                _BareClient(http, url, prompts, s3, threads, prefix) for url in stack.comfyui_urls
            ]
            saved = await asyncio.gather(*(client.run() for client in clients))
            spent = Spent(time.perf_counter() - started, time.process_time() - cpu_started)
    assert sum(saved) == expected, f"{sum(saved)} images instead of {expected}"
    return spent


@dataclass
class _BareClient:
    """Renders on one server what is left of the prompts of all."""

    http: httpx.AsyncClient
    url: str
    prompts: deque[dict[str, Any]]
    s3: "S3Client"
    threads: ThreadPoolExecutor
    prefix: str
    client_id: str = field(default_factory=lambda: str(uuid4()))
    num_queued: int = 0

    async def run(self) -> int:
        """Render until no prompt is left; return how many images were saved."""
        saves: list[asyncio.Task[None]] = []
        address = f"ws{self.url.removeprefix('http')}/ws?clientId={self.client_id}"
        async with (
            connect(address, proxy=None, max_size=None) as socket,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(_QUEUED_PER_SERVER):
                await self._post_next()
            while self.num_queued:
                frame = await socket.recv()
                # Looked for in the text first: few messages are worth decoding.
                if isinstance(frame, str) and '"executing"' in frame:
                    data = json.loads(frame)["data"]
                    if data.get("prompt_id") and data["node"] is None:
                        self.num_queued -= 1
                        saves.append(group.create_task(self._save(data["prompt_id"])))
                        await self._post_next()
        return len(saves)

    async def _post_next(self) -> None:
        if self.prompts:
            self.num_queued += 1
            prompt = {**self.prompts.popleft(), "client_id": self.client_id}
            answer = await self.http.post(f"{self.url}/prompt", json=prompt)
            answer.raise_for_status()

    async def _save(self, prompt_id: str) -> None:
        answer = await self.http.get(f"{self.url}/history/{prompt_id}")
        outputs = answer.json()[prompt_id]["outputs"]
        [image] = [item for node in outputs.values() for item in node["images"]]
        answer = await self.http.get(f"{self.url}/view", params=image)
        answer.raise_for_status()
        put = partial(
            self.s3.put_object,
            Bucket=BUCKET,
            Key=f"images/{self.prefix}/{prompt_id}/output.png",
            Body=answer.content,
            ContentType="image/png",
        )
        await asyncio.get_running_loop().run_in_executor(self.threads, put)
