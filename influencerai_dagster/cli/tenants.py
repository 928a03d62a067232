"""`influencerai tenant`: add, list and remove tenants, the owners of all content."""

from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer

from influencerai_dagster.cli.common import engine, settings, store
from influencerai_dagster.cli.options import YesOption
from influencerai_dagster.cli.output import (
    Document,
    Field,
    JsonOption,
    notes,
    print_document,
    print_result,
    print_rows,
)
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.dagster_client.tenant_removal import TenantRemoval
from influencerai_dagster.db import tenants
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention import legal_holds

tenant_app = typer.Typer(help="Tenants: the owners of all content.", no_args_is_help=True)

_WEIGHT_HELP = "Of two tenants who both have work, one of weight 2 gets twice the GPU time."
_FIELDS = (
    Field("tenant"),
    Field("created_at", "since (UTC)"),
    Field("gpu_weight", "GPU weight", shown=lambda value: f"{value:g}", is_number=True),
    Field("gpu_seconds_used", "GPU seconds used", is_number=True),
    Field("retention_days", "kept for days", is_number=True),
    Field("is_on_hold", "legal hold"),
)


@tenant_app.command("add")
def add_tenant(
    name: str,
    gpu_weight: Annotated[float, typer.Option(help=_WEIGHT_HELP)] = 1.0,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Add a tenant; one that exists stays as it is."""
    with transaction(engine()) as session:
        is_new = tenants.add_tenant(session, name, gpu_weight=gpu_weight)
    print_result(
        {"tenant": name, "is_new": is_new},
        f"tenant {name} {'added' if is_new else 'exists already'}",
        as_json=as_json,
    )


@tenant_app.command("set-weight")
def set_weight(
    name: str,
    gpu_weight: Annotated[float, typer.Argument(help=_WEIGHT_HELP)],
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Change a tenant's share of the GPU time."""
    with transaction(engine()) as session:
        tenants.set_gpu_weight(session, name, gpu_weight)
    print_result(
        {"tenant": name, "gpu_weight": gpu_weight},
        f"tenant {name} has GPU weight {gpu_weight:g}",
        as_json=as_json,
    )


@tenant_app.command("list")
def list_tenants(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """List all tenants, with their share of the GPU time and what they used of it."""
    print_rows(_documents(), _FIELDS, as_json=as_json)


@tenant_app.command("show")
def show_tenant(name: str, as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Show a tenant."""
    with transaction(engine()) as session:
        tenants.require_tenant(session, name)
    print_document(next(item for item in _documents() if item["tenant"] == name), as_json=as_json)


@tenant_app.command("remove")
def remove(
    name: str,
    yes: YesOption = False,  # noqa: FBT002 - typer's flag
    dry_run: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--dry-run", help="Only show what would be deleted.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Delete a tenant with all that it has: rows, objects and partitions.

    It asks first. A legal hold, jobs that have not ended and runs of Dagster that are alive forbid
    it. Backups keep what they have for the recovery window. Run it again if it was stopped.
    """
    with closing(dagster()) as client:
        removal = TenantRemoval(engine(), store(), client, name)
        contents = removal.contents()
        document = asdict(contents)
        _show_contents(document)
        if not dry_run:
            if not yes:
                typer.confirm(f"Delete all of this of tenant {name}?", abort=True, err=True)
            removal.remove(contents)
    verb = "would be" if dry_run else "is"
    print_result(
        document | {"is_dry_run": dry_run}, f"tenant {name} {verb} deleted", as_json=as_json
    )


def _show_contents(document: Document) -> None:
    for name in ("rows", "objects", "partitions"):
        listed = ", ".join(f"{number:,} of {what}" for what, number in document[name].items())
        notes.print(f"{name}: {listed or 'none'}", highlight=False)
    notes.print(f"bytes: {document['size_bytes']:,}", highlight=False)


def _documents() -> list[Document]:
    with transaction(engine()) as session:
        rows = tenants.list_tenants(session)
        used = tenants.gpu_seconds_used(session)
        kept = legal_holds.tenant_retentions(session, settings().retention.days)
    return [
        {
            "tenant": row.id,
            "created_at": row.created_at,
            "gpu_weight": row.gpu_weight,
            "gpu_seconds_used": used.get(row.id, 0.0),
            "retention_days": kept[row.id].days,
            "is_on_hold": kept[row.id].is_on_hold,
        }
        for row in rows
    ]
