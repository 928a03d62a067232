"""`influencerai retention`: what may be deleted and why, days of a tenant, legal holds."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Column, Table

from influencerai_dagster.catalog import legal_holds
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.cli.common import console, engine, settings, store
from influencerai_dagster.stages.retention import RetentionRules, plan_retention

retention_app = typer.Typer(help="What is deleted when, and legal holds.", no_args_is_help=True)

TenantName = Annotated[str, typer.Option("--tenant", help="The tenant.")]
JobId = Annotated[UUID | None, typer.Option("--job", help="Only its picture or clip.")]


@retention_app.command("report")
def report() -> None:
    """Show what retention would do now, and delete nothing."""
    config = settings()
    rules = RetentionRules(
        config.retention_days, timedelta(days=config.backup_recovery_window_days)
    )
    plan = plan_retention(engine(), store(), rules)
    table = Table(
        *("tenant", "fate", Column("why", overflow="fold")),
        *(Column(title, justify="right") for title in ("objects", "bytes")),
    )
    for row in plan.summary():
        numbers = (f"{int(row[name]):,}" for name in ("objects", "bytes"))
        table.add_row(str(row["tenant"]), str(row["fate"]), str(row["why"]), *numbers)
    console.print(table)
    console.print(
        "delete: out of the catalog; wait: deleted, the bytes stay for the recovery window; "
        "remove: the bytes go"
    )
    if config.retention_dry_run:
        console.print("RETENTION_DRY_RUN is on: the daily run only reports")


@retention_app.command("days")
def set_days(
    days: Annotated[int, typer.Argument(help="0 for RETENTION_DAYS.")], tenant: TenantName
) -> None:
    """Set how long a tenant's pictures and clips are kept."""
    with transaction(engine()) as session:
        legal_holds.set_retention_days(session, tenant, days or None)
    console.print(
        f"tenant {tenant} keeps its pictures for {days or settings().retention_days} days"
    )


@retention_app.command("hold")
def hold(tenant: TenantName, job: JobId = None) -> None:
    """Set a legal hold: nothing of the tenant, or of one job, is deleted until it is released."""
    _set_hold(tenant, job, is_on_hold=True)


@retention_app.command("release")
def release(tenant: TenantName, job: JobId = None) -> None:
    """End a legal hold."""
    _set_hold(tenant, job, is_on_hold=False)


def _set_hold(tenant: str, job: UUID | None, *, is_on_hold: bool) -> None:
    with transaction(engine()) as session:
        if job is None:
            legal_holds.set_tenant_hold(session, tenant, is_on_hold=is_on_hold)
        else:
            legal_holds.set_job_hold(session, tenant, job, is_on_hold=is_on_hold)
    what = f"tenant {tenant}" if job is None else f"job {job} of tenant {tenant}"
    console.print(f"{what} is {'on hold' if is_on_hold else 'no longer on hold'}")
