"""`influencerai tenant | influencer | dataset | lora`: who there is and what they bring."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import JustifyMethod
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from influencerai_dagster.catalog import lora_configs, tenants
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.cli.common import console, engine, store
from influencerai_dagster.domain.keys import DatasetKey
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.stages.uploads import files_to_upload, upload_folder

tenant_app = typer.Typer(help="Tenants.", no_args_is_help=True)
influencer_app = typer.Typer(help="Influencers of a tenant.", no_args_is_help=True)
dataset_app = typer.Typer(help="Photos of an influencer.", no_args_is_help=True)
lora_app = typer.Typer(help="How LoRAs are trained.", no_args_is_help=True)

_WEIGHT_HELP = "Of two tenants who both have work, one of weight 2 gets twice the GPU time."
TenantName = Annotated[str, typer.Option("--tenant", help="The tenant.")]


@tenant_app.command("add")
def add_tenant(
    name: str, gpu_weight: Annotated[float, typer.Option(help=_WEIGHT_HELP)] = 1.0
) -> None:
    """Add a tenant; one that exists stays as it is."""
    with transaction(engine()) as session:
        is_new = tenants.add_tenant(session, name, gpu_weight=gpu_weight)
    console.print(f"tenant {name} {'added' if is_new else 'exists already'}")


@tenant_app.command("set-weight")
def set_weight(name: str, gpu_weight: Annotated[float, typer.Argument(help=_WEIGHT_HELP)]) -> None:
    """Change a tenant's part of the GPU time."""
    with transaction(engine()) as session:
        tenants.set_gpu_weight(session, name, gpu_weight)
    console.print(f"tenant {name} has GPU weight {gpu_weight:g}")


@tenant_app.command("list")
def list_tenants() -> None:
    """List all tenants, with their part of the GPU time and what they had of it."""
    with transaction(engine()) as session:
        rows = tenants.list_tenants(session)
        used = tenants.gpu_seconds_used(session)
    right: JustifyMethod = "right"
    table = Table(
        *(Column("tenant", overflow="fold"), "since (UTC)"),
        *(Column(title, justify=right) for title in ("GPU weight", "GPU seconds used")),
    )
    for row in rows:
        since, seconds = f"{row.created_at:%Y-%m-%d %H:%M}", used.get(row.id, 0.0)
        table.add_row(row.id, since, f"{row.gpu_weight:g}", f"{seconds:,.1f}")
    console.print(table)


@influencer_app.command("add")
def add_influencer(  # noqa: PLR0917 - typer calls it by name
    name: str,
    tenant: TenantName,
    trigger_phrase: Annotated[str, typer.Option(help="Words that call the character.")] = "",
    class_caption: Annotated[str, typer.Option(help="What the character is.")] = "person",
    dataset: Annotated[str, typer.Option(help="Its dataset; its own name by default.")] = "",
    persona: Annotated[Path | None, typer.Option(help="A JSON file.")] = None,
) -> None:
    """Add or change an influencer of a tenant."""
    with transaction(engine()) as session:
        tenants.put_influencer(
            session,
            tenant,
            name,
            name=name,
            persona=_read_json(persona),
            dataset=dataset or name,
            trigger_phrase=trigger_phrase or name,
            class_caption=class_caption,
        )
    console.print(f"influencer {name} of tenant {tenant} saved")


@dataset_app.command("upload")
def upload_dataset(
    folder: Path,
    tenant: TenantName,
    dataset: Annotated[str, typer.Option(help="The dataset; the folder's name by default.")] = "",
) -> None:
    """Upload the photos and captions of a folder; run it again to go on where it stopped."""
    key = DatasetKey(tenant, dataset or folder.resolve().name)
    with transaction(engine()) as session:
        tenants.require_tenant(session, tenant)
    total = len(files_to_upload(folder))
    columns = (TextColumn("upload"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("upload", total=total)
        sent = upload_folder(store(), key, folder, lambda _path, _sent: progress.advance(bar))
    console.print(f"{sent} files sent to dataset {key}, {total - sent} were there already")


@lora_app.command("config")
def put_lora_config(
    name: str,
    tenant: TenantName,
    preset: Annotated[str, typer.Option(help="sd15-face, sdxl-face or flux-face.")] = "sd15-face",
    overrides: Annotated[str, typer.Option(help="Changed fields, as JSON.")] = "{}",
    default: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--default", help="Use it for every training.")
    ] = False,
) -> None:
    """Save a named LoRA config of a tenant: a preset with some fields changed."""
    try:
        changes = json.loads(overrides)
    except ValueError as error:
        raise PermanentError(f"--overrides is not JSON: {error}") from error
    if not isinstance(changes, dict):
        raise PermanentError(f"--overrides is no JSON object, but {type(changes).__name__}")
    with transaction(engine()) as session:
        lora_configs.put_lora_config(
            session, tenant, name, preset=preset, overrides=changes, is_default=default
        )
    console.print(f"LoRA config {name} of tenant {tenant} saved")


def _read_json(path: Path | None) -> dict[str, object]:
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PermanentError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(value, dict):
        raise PermanentError(f"{path} holds no JSON object, but {type(value).__name__}")
    return value
