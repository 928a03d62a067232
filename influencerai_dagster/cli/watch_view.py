"""Draw `influencerai jobs watch`: a snapshot becomes tables that fit 80 columns or more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich import box
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from influencerai_dagster.cli.server_probes import ProbedServer
from influencerai_dagster.db.storage_pauses import StoragePause
from influencerai_dagster.generation.queue.statistics import (
    FailedJob,
    RunningJob,
    TenantStatistics,
    Training,
)
from influencerai_dagster.retention.rows import Freeable

WIDE = 120
"""With so many columns, everything is shown in full."""
_SHORT_ID = 8
_TENANT_WIDTH, _WIDE_TENANT_WIDTH = 14, 32
_MAX_TENANTS = 30
_OTHER_LINES = 17  # headings, rules and blank lines of a full screen
_MINUTE, _HOUR = 60, 3600
_MIB = 1024**2


@dataclass(frozen=True)
class Snapshot:
    """All that one screen shows; lists are ordered as they are shown.

    Attributes:
        running: the oldest running jobs.
        is_gpu_shared: trainings and renders exclude each other (GPU_SHARED).
        pause: the object store is full; None while it has space.
        freeable: what retention could free then.
    """

    tenants: Sequence[TenantStatistics]
    running: Sequence[RunningJob]
    failures: Sequence[FailedJob]
    trainings: Sequence[Training]
    servers: Sequence[ProbedServer]
    is_gpu_shared: bool
    pause: StoragePause | None = None
    freeable: Freeable | None = None


def view(snapshot: Snapshot, width: int, *, height: int | None) -> RenderableType:
    """Return the whole screen.

    Args:
        width: columns of the terminal.
        height: lines of the terminal; running jobs that do not fit are left out. None for all.
    """
    is_wide = width >= WIDE
    parts: list[RenderableType] = [
        _servers(snapshot.servers),
        *([] if snapshot.pause is None else [_full(snapshot.pause, snapshot.freeable)]),
        _gpu(snapshot),
        _tenants(snapshot.tenants, is_wide=is_wide),
    ]
    running = snapshot.running
    if height is not None:
        taken = len(snapshot.servers) + len(snapshot.tenants) + 2 * len(snapshot.failures)
        running = running[: max(1, height - taken - _OTHER_LINES)]
    if running:
        num_running = sum(tenant.running for tenant in snapshot.tenants)
        parts.append(_running(running, num_running, is_wide=is_wide))
    if snapshot.failures:
        parts.append(_failures(snapshot.failures, width))
    return Group(*parts)


def _table(title: str, *columns: Column, is_wide: bool = True) -> Table:
    return Table(
        *columns,
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1) if is_wide else 0,
        show_edge=False,
        pad_edge=False,
    )


def _number(title: str) -> Column:
    return Column(title, justify="right", no_wrap=True)


def _tenant_column(*, is_wide: bool) -> Column:
    width = _WIDE_TENANT_WIDTH if is_wide else _TENANT_WIDTH
    return Column("tenant", overflow="ellipsis", no_wrap=True, max_width=width)


def _servers(servers: Sequence[ProbedServer]) -> Table:
    now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
    table = _table(now, Column("ComfyUI"), Column("state"), _number("runs"), _number("queued"))
    words = {
        None: Text("asking", "dim"),
        True: Text("up", "green"),
        False: Text("down", "bold red"),
    }
    for server in servers:
        numbers = (server.running, server.pending) if server.is_up else ("", "")
        table.add_row(_host(server.url), words[server.is_up], *map(str, numbers))
    return table


def _full(pause: StoragePause, free: Freeable | None) -> Text:
    """Return the warning that the store is full, so that no job is claimed."""
    hint = ""
    if free is not None:
        now, later = free.now_bytes / _MIB, free.later_bytes / _MIB
        hint = (
            f" Retention could free {now:,.0f} MiB now, {later:,.0f} MiB after the recovery window."
        )
    return Text(
        f"\nOBJECT STORE FULL for {_age(pause.seconds)}: jobs wait and none fails.{hint}\n"
        f"{' '.join(pause.error.split())}\n",
        "bold red",
    )


def _gpu(snapshot: Snapshot) -> Text:
    """Return the line of trainings; with GPU_SHARED, also who owns the GPU."""
    held = ", ".join(f"{item.dataset} for {_age(item.seconds)}" for item in snapshot.trainings)
    if not snapshot.is_gpu_shared:
        return Text(f"\ntraining: {held}\n" if held else "")
    if not held:
        return Text("\nGPU (shared): free for renders\n")
    num_ready = sum(
        item.pending - item.waiting_for_lora - item.waiting_for_image - item.in_backoff
        for item in snapshot.tenants
    )
    return Text(
        f"\nGPU (shared): training {held}; {num_ready} renders wait for the GPU\n", "yellow"
    )


def _tenants(tenants: Sequence[TenantStatistics], *, is_wide: bool) -> Table:
    held = ("no LoRA", "no image", "backoff") if is_wide else ("held",)
    waits = ("wait p50", "wait p95") if is_wide else ("p50", "p95")
    table = _table(
        "",
        _tenant_column(is_wide=is_wide),
        *map(_number, ("pending", *held, "running" if is_wide else "runs", "done", "failed")),
        *map(_number, ("/min", *waits, "GPU s", "share")),
        is_wide=is_wide,
    )
    # The tenants with the most work, by name: rows that change their positions cannot be read.
    busiest = sorted(tenants, key=lambda item: (-item.running, -item.pending, -item.done))
    shown = sorted(busiest[:_MAX_TENANTS], key=lambda item: item.tenant)
    for item in shown:
        table.add_row(*_cells(item, is_wide=is_wide))
    if not tenants:
        table.add_row("no open jobs, and none that ended today")
    if len(tenants) > len(shown):
        table.add_row(f"… {len(tenants) - len(shown)} more", style="dim")
    return table


def _cells(item: TenantStatistics, *, is_wide: bool) -> list[RenderableType]:
    held = (item.waiting_for_lora, item.waiting_for_image, item.in_backoff)
    return [
        item.tenant,
        _count(item.pending),
        *map(_count, held if is_wide else (sum(held),)),
        _count(item.running, "cyan"),
        _count(item.done, "green"),
        _count(item.failed, "red"),
        f"{item.per_minute:.1f}",
        _seconds(item.wait_p50),
        _seconds(item.wait_p95),
        f"{item.gpu_seconds:,.0f}",
        f"{100 * item.share:.0f} %",
    ]


def _running(jobs: Sequence[RunningJob], num_running: int, *, is_wide: bool) -> Table:
    table = _table(
        f"\n{num_running} running",
        Column("job", no_wrap=True),
        _tenant_column(is_wide=is_wide),
        Column("kind"),
        Column("server", overflow="ellipsis", no_wrap=True),
        Column("progress", no_wrap=True, min_width=30 if is_wide else 12),
        _number(""),
        _number("time"),
        is_wide=is_wide,
    )
    for job in jobs:
        table.add_row(
            _job_id(job.id, is_wide=is_wide),
            job.tenant,
            job.kind,
            Text("?", "dim") if job.server is None else _host(job.server),
            ProgressBar(total=1, completed=job.progress, width=30 if is_wide else 12),
            f"{100 * job.progress:.0f} %",
            _age(job.seconds),
        )
    if num_running > len(jobs):
        table.add_row(f"… {num_running - len(jobs)} more", style="dim")
    return table


def _failures(failures: Sequence[FailedJob], width: int) -> Table:
    is_wide = width >= WIDE
    table = _table(
        "\nfailed last",
        *(Column("at"), Column("job", no_wrap=True)),
        _tenant_column(is_wide=is_wide),
        Column("reason", overflow="fold", ratio=1),
        is_wide=is_wide,
    )
    table.expand = True
    for job in failures:
        reason = Text(" ".join(job.error.split()))
        reason.truncate(width, overflow="ellipsis")  # about two lines beside the other columns
        at = f"{job.finished_at:%H:%M:%S}"
        table.add_row(at, _job_id(job.id, is_wide=is_wide), job.tenant, reason)
    return table


def _job_id(job_id: object, *, is_wide: bool) -> str:
    return str(job_id) if is_wide else str(job_id)[:_SHORT_ID]


def _host(url: str) -> str:
    return url.split("://", maxsplit=1)[-1]


def _count(number: int, style: str = "") -> Text:
    return Text(f"{number:,}", style) if number else Text("·", "dim")


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else _age(seconds) if seconds >= _MINUTE else f"{seconds:.1f} s"


def _age(seconds: float) -> str:
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"
