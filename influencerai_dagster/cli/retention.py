"""`influencerai retention`: report what may be deleted and why, set days and legal holds."""

from typing import Annotated
from uuid import UUID

import typer

from influencerai_dagster.cli.common import engine, settings, store
from influencerai_dagster.cli.options import TenantName, job_id
from influencerai_dagster.cli.output import Field, JsonOption, notes, print_result, print_rows
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.retention import legal_holds
from influencerai_dagster.retention.deletion import plan_retention
from influencerai_dagster.wiring.retention import retention_rules

retention_app = typer.Typer(help="Retention periods and legal holds.", no_args_is_help=True)

JobId = Annotated[
    UUID | None, typer.Option("--job", parser=job_id, help="Only its image or video.")
]
_FIELDS = (
    Field("tenant"),
    Field("action"),
    Field("why", is_wide=True),
    Field("objects", shown="{:,}".format, is_number=True),
    Field("bytes", shown="{:,}".format, is_number=True),
)


@retention_app.command("report")
def report(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Show what retention would do now, and delete nothing."""
    config = settings()
    rules = retention_rules(config)
    plan = plan_retention(engine(), store(), rules)
    print_rows(plan.summary(), _FIELDS, as_json=as_json)
    notes.print(
        "delete: delete in the catalog; wait: deleted, the bytes stay for the recovery window; "
        "remove: remove the bytes"
    )
    if config.retention.is_dry_run:
        notes.print("RETENTION_DRY_RUN is on: the daily run only reports")


@retention_app.command("days")
def set_days(
    days: Annotated[int, typer.Argument(help="0 for RETENTION_DAYS.")],
    tenant: TenantName,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Set how long a tenant's images and videos are kept."""
    with transaction(engine()) as session:
        legal_holds.set_retention_days(session, tenant, days or None)
    kept = days or settings().retention.days
    print_result(
        {"tenant": tenant, "retention_days": kept},
        f"tenant {tenant} keeps its images and videos for {kept} days",
        as_json=as_json,
    )


@retention_app.command("hold")
def hold(tenant: TenantName, job: JobId = None, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Set a legal hold: nothing of the tenant, or of one job, is deleted until it is released."""
    _set_hold(tenant, job, is_on_hold=True, as_json=as_json)


@retention_app.command("release")
def release(tenant: TenantName, job: JobId = None, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """End a legal hold."""
    _set_hold(tenant, job, is_on_hold=False, as_json=as_json)


def _set_hold(tenant: str, job: UUID | None, *, is_on_hold: bool, as_json: bool) -> None:
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        if job is None:
            legal_holds.set_tenant_hold(session, tenant, is_on_hold=is_on_hold)
        else:
            legal_holds.set_job_hold(session, tenant, job, is_on_hold=is_on_hold)
    what = f"tenant {tenant}" if job is None else f"job {job} of tenant {tenant}"
    print_result(
        {"tenant": tenant, "job_id": job, "is_on_hold": is_on_hold},
        f"{what} is {'on hold' if is_on_hold else 'no longer on hold'}",
        as_json=as_json,
    )
