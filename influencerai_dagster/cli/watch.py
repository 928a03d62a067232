"""`influencerai jobs watch`: show the job queue, the servers and the GPU live.

watch_view.py draws the tables.
"""

import time
from contextlib import suppress
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.live import Live

from influencerai_dagster.cli.common import engine, server_settings
from influencerai_dagster.cli.output import JsonOption, console, print_json
from influencerai_dagster.cli.server_probes import TIMEOUT_SECONDS, ProbedServer, ServerProbes
from influencerai_dagster.cli.watch_view import Snapshot, view
from influencerai_dagster.core.recovery_window import SAFETY_MARGIN
from influencerai_dagster.db import storage_pauses
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.errors import TransientError
from influencerai_dagster.generation.queue import statistics
from influencerai_dagster.retention.rows import freeable

_MAX_RUNNING = 40
_MAX_FAILURES = 5


def watch_jobs(
    tenant: Annotated[str, typer.Option(help="Only this tenant; all by default.")] = "",
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds.")] = 1.0,
    once: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--once", help="Print it once; also if the output is not a terminal.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Show live which jobs wait, run and ended; docs/operating.md explains the columns."""
    if tenant:
        with transaction(engine()) as session:
            require_tenant(session, tenant)
    with ServerProbes(server_settings().comfyui.urls) as probes:
        if once or as_json or not console.is_terminal:
            states = probes.states(wait_seconds=TIMEOUT_SECONDS + 1)
            if as_json:
                print_json(snapshot(tenant, states))
                return
            console.print(view(snapshot(tenant, states), console.width, height=None))
            return
        last = _watch(tenant, interval, probes)
    console.print(last)


def snapshot(tenant: str, servers: list[ProbedServer]) -> Snapshot:
    """Read everything that is shown.

    Args:
        tenant: only this one; "" for all.
        servers: as they answered last.
    """
    only = tenant or None
    window = server_settings().backup.recovery_window + SAFETY_MARGIN
    with transaction(engine()) as session:
        pause = storage_pauses.current_pause(session)
        return Snapshot(
            tenants=statistics.tenant_statistics(session, only),
            running=statistics.running_jobs(session, only, limit=_MAX_RUNNING),
            failures=statistics.newest_failures(session, only, limit=_MAX_FAILURES),
            trainings=statistics.trainings(session),
            servers=servers,
            is_gpu_shared=server_settings().training.is_gpu_shared,
            pause=pause,
            freeable=freeable(
                session, default_days=server_settings().retention.days, recovery_window=window
            )
            if pause
            else None,
        )


def _watch(tenant: str, interval: float, probes: ServerProbes) -> RenderableType:
    """Show snapshots until Ctrl-C; return the last one."""
    current: RenderableType = "asking …"
    with (
        suppress(KeyboardInterrupt),
        Live(current, console=console, screen=True, auto_refresh=False) as live,
    ):
        while True:
            try:
                now = snapshot(tenant, probes.states())
                current = view(now, console.width, height=console.height)
                live.update(current, refresh=True)
            except TransientError as error:
                live.update(f"{error}\nStill trying …", refresh=True)
            time.sleep(interval)
    return current
