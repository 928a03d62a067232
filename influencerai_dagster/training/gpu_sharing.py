"""Free ComfyUI's GPU memory before a training on the same GPU.

Dagster's pool `gpu` keeps our own renders from starting meanwhile. The servers may still work on
other prompts, and keep the models of the last render in memory.
"""

import time
from collections.abc import Callable, Sequence

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.errors import TransientError

_REPORT_EVERY_SECONDS = 15.0
_UNLOAD_SECONDS = 10.0
_MIB = 1024**2

Report = Callable[[str], None]


def free_comfyui_memory(
    servers: Sequence[str], *, wait_seconds: float, report: Report, poll_seconds: float = 1.0
) -> None:
    """Wait until every server is idle and let it unload its models.

    A server that does not answer is left out.

    Args:
        servers: addresses.
        wait_seconds: how long a server may still render.
        report: called with each line of progress.
        poll_seconds: between two questions to a server.

    Raises:
        TransientError: a server still renders, so the training would lack memory.
    """
    for server in servers:
        with ComfyUIClient(server) as client:
            try:
                num_prompts = _wait_until_idle(client, wait_seconds, poll_seconds, report)
                if not num_prompts:
                    report(_free(client, poll_seconds))
            except TransientError as error:
                report(f"ComfyUI at {client.url} does not answer and is left out: {error}")
                continue
            if num_prompts:
                raise TransientError(
                    f"ComfyUI at {client.url} still has {num_prompts} prompts after "
                    f"{wait_seconds:.0f} s, and the training needs its GPU (GPU_SHARED). Another "
                    "program submitted them, or the server hangs: open its queue, and restart it "
                    "if no prompt advances."
                )


def _wait_until_idle(
    client: ComfyUIClient, wait_seconds: float, poll_seconds: float, report: Report
) -> int:
    """Return how many prompts are left at the deadline."""
    deadline = time.monotonic() + wait_seconds
    report_at = time.monotonic()
    while True:
        queue = client.queue()
        num_prompts = len(queue.running) + len(queue.pending)
        now = time.monotonic()
        if not num_prompts or now >= deadline:
            return num_prompts
        if now >= report_at:
            report(f"waiting for {num_prompts} prompts of ComfyUI at {client.url}")
            report_at = now + _REPORT_EVERY_SECONDS
        time.sleep(min(poll_seconds, deadline - now))


def _free(client: ComfyUIClient, poll_seconds: float) -> str:
    before = client.system_stats().vram_free_bytes
    client.free_memory()
    after = _settled_memory(client, poll_seconds)
    return (
        f"ComfyUI at {client.url} unloaded its models: {before // _MIB} MiB of its GPU were free, "
        f"{after // _MIB} MiB are"
    )


def _settled_memory(client: ComfyUIClient, poll_seconds: float) -> int:
    """Return the free memory once it stops growing: ComfyUI unloads after its answer."""
    deadline = time.monotonic() + _UNLOAD_SECONDS
    found = client.system_stats().vram_free_bytes
    while time.monotonic() < deadline:
        time.sleep(poll_seconds)
        last, found = found, client.system_stats().vram_free_bytes
        if found <= last:
            break
    return found
