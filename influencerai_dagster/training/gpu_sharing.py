"""One GPU for training and rendering: ComfyUI gives its memory back before a training begins.

That no render begins meanwhile is the work of Dagster's pool `gpu`; this looks after what the
servers still do, and what they keep in memory from the last render.
"""

import time
from collections.abc import Callable, Sequence

from influencerai_dagster.engines.comfyui.client import ComfyUIClient
from influencerai_dagster.errors import TransientError

_POLL_SECONDS = 1.0
_REPORT_EVERY_SECONDS = 15.0
_GIVE_BACK_SECONDS = 10.0
_MIB = 1024**2

Report = Callable[[str], None]


def free_comfyui_memory(servers: Sequence[str], *, wait_seconds: float, report: Report) -> None:
    """Wait until every server is idle and let it unload its models.

    A server that is away is no obstacle.

    Args:
        servers: addresses.
        wait_seconds: how long a server may still render.
        report: called with a line of progress for people.

    Raises:
        TransientError: a server still renders; the training would not find the memory it needs.
    """
    for server in servers:
        with ComfyUIClient(server) as client:
            try:
                num_prompts = _wait_until_idle(client, wait_seconds, report)
                if not num_prompts:
                    report(_free(client))
            except TransientError as error:
                report(f"ComfyUI at {client.url} does not answer and is left out: {error}")
                continue
            if num_prompts:
                raise TransientError(
                    f"ComfyUI at {client.url} still has {num_prompts} prompts after "
                    f"{wait_seconds:.0f} s, and the training needs its GPU (GPU_SHARED). They are "
                    "not of our runs, or the server hangs: look at its queue, restart it if "
                    "nothing moves there."
                )


def _wait_until_idle(client: ComfyUIClient, wait_seconds: float, report: Report) -> int:
    """Return how many prompts were left when the time was over."""
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
        time.sleep(min(_POLL_SECONDS, deadline - now))


def _free(client: ComfyUIClient) -> str:
    before = client.system_stats().vram_free_bytes
    client.free_memory()
    after = _settled_memory(client)
    return (
        f"ComfyUI at {client.url} unloaded its models: {before // _MIB} MiB of its GPU were free, "
        f"{after // _MIB} MiB are"
    )


def _settled_memory(client: ComfyUIClient) -> int:
    """Return the free memory once it grows no more: ComfyUI unloads after it has answered."""
    deadline = time.monotonic() + _GIVE_BACK_SECONDS
    found = client.system_stats().vram_free_bytes
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        last, found = found, client.system_stats().vram_free_bytes
        if found <= last:
            break
    return found
