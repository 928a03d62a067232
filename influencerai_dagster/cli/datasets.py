"""`influencerai dataset`: upload photos, show datasets and follow them to a LoRA."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from influencerai_dagster.cli.common import engine, server_settings, settings, store
from influencerai_dagster.cli.options import TenantName
from influencerai_dagster.cli.output import (
    Document,
    Field,
    JsonOption,
    next_step,
    notes,
    print_document,
    print_result,
    print_rows,
)
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.dagster_client.dataset_builds import start_build
from influencerai_dagster.dagster_client.dataset_status import StageState, dataset_status
from influencerai_dagster.db import datasets, loras, tenants
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.records import Dataset, Lora
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.training.dataset_names import dataset_keys, require_dataset
from influencerai_dagster.training.uploads import files_to_upload, unpaired_captions, upload_folder

dataset_app = typer.Typer(help="Photos of an influencer.", no_args_is_help=True)
_MAX_NAMED = 20
_FIELDS = (
    Field("dataset"),
    Field("is_validated", "validated"),
    Field("num_images", "images", is_number=True),
    Field("num_rejected", "rejected", is_number=True),
    Field("updated_at", "validated at (UTC)"),
    Field("lora_id", "newest LoRA"),
)
_STATUS_FIELDS = (
    Field("stage"),
    Field("state"),
    Field("at", "at (UTC)"),
    Field("text", "what there is, or what it waits for", is_wide=True),
    Field("run_id", "run", shown=lambda run_id: (run_id or "")[:8]),  # as in the UI
)


@dataset_app.command("upload")
def upload_dataset(
    folder: Path,
    tenant: TenantName,
    dataset: Annotated[str, typer.Option(help="The dataset; the folder's name by default.")] = "",
    skip_unpaired: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--skip-unpaired", help="Leave out caption files without an image.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Upload the photos and captions of a folder; run it again to go on where it stopped."""
    key = DatasetKey(tenant, dataset or folder.resolve().name)
    with transaction(engine()) as session:
        tenants.require_tenant(session, tenant)
    unpaired = unpaired_captions(store(), key, folder)
    if unpaired and not skip_unpaired:
        raise PermanentError(_unpaired_text(folder, unpaired))
    total = len(files_to_upload(folder)) - len(unpaired)
    columns = (TextColumn("upload"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task("upload", total=total)
        sent = upload_folder(
            store(), key, folder, lambda _path, _sent: progress.advance(bar), skip=unpaired
        )
    run_id = _start_build(key) if sent else None
    print_result(
        {
            "dataset": str(key),
            "files_sent": sent,
            "files_there_already": total - sent,
            "run_id": run_id,
        },
        f"{sent} files sent to dataset {key}, {total - sent} were there already",
        as_json=as_json,
    )
    when = "now" if run_id else "once the uploads have been quiet for a while"
    next_step(
        f"dataset, captions and LoRA are made {when}: "
        f"`influencerai dataset status {key.dataset} --tenant {tenant}`, or "
        f"{settings().dagster.url}/assets/dataset?view=partitions&partition={tenant}%2F{key.dataset}"
    )


def _start_build(key: DatasetKey) -> str | None:
    """Launch the run that builds a dataset; the sensor does it if Dagster does not answer now."""
    try:
        with closing(dagster()) as client:
            return start_build(client, engine(), store(), key)
    except TransientError as error:
        notes.print(f"[yellow]no run was started yet: {escape(str(error))}[/]")
        return None


@dataset_app.command("list")
def list_datasets(tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """List the datasets of a tenant with what is known of their newest version."""
    keys = dataset_keys(engine(), store(), tenant)
    with transaction(engine()) as session:
        validated = {item.key: item for item in datasets.list_datasets(session, tenant)}
        newest = {key: loras.newest_lora(session, tenant, key.dataset) for key in keys}
    rows = [_document(key, validated.get(key), newest[key]) for key in keys]
    print_rows(rows, _FIELDS, as_json=as_json)


@dataset_app.command("show")
def show_dataset(name: str, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Show the newest version of a dataset, with the uploads that were rejected and why."""
    key = DatasetKey(tenant, name)
    require_dataset(engine(), store(), key)
    with transaction(engine()) as session:
        record = datasets.get_dataset(session, tenant, name)
        lora = loras.newest_lora(session, tenant, name)
    if record is None:
        raise PermanentError(
            f"dataset {key} is uploaded, but not validated yet: `influencerai dataset status "
            f"{name} --tenant {tenant}` says how far it is"
        )
    manifest = load_unverified(store(), record.manifest_key, DatasetManifest).manifest
    document = dict(_document(key, record, lora))
    document["rights"] = None if manifest.rights is None else manifest.rights.model_dump()
    document["rejected"] = [item.model_dump(mode="json") for item in manifest.rejected]
    print_document(document, as_json=as_json)


@dataset_app.command("status")
def show_status(name: str, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Show how far a dataset is on its way to a LoRA, and what each stage waits for."""
    config = server_settings()
    with closing(dagster()) as client:
        stages = dataset_status(
            engine(),
            store(),
            client,
            DatasetKey(tenant, name),
            settle_seconds=config.datasets.settle_seconds,
        )
    rows = [asdict(stage) | {"state": stage.state.value} for stage in stages]
    print_rows(rows, _STATUS_FIELDS, as_json=as_json)
    held_by = next((stage for stage in stages if stage.state is not StageState.DONE), None)
    if held_by is None:
        next_step(f"`influencerai generate --tenant {tenant} --lora {name} --prompt …`")
    elif held_by.run_id is not None:
        next_step(f"{config.dagster.url}/runs/{held_by.run_id}")


def _document(key: DatasetKey, record: Dataset | None, lora: Lora | None) -> Document:
    return {
        "tenant": key.tenant,
        "dataset": key.dataset,
        "is_validated": record is not None,
        "version": record and record.version,
        "num_images": record and record.num_images,
        "num_rejected": record and record.num_rejected,
        "updated_at": record and record.updated_at,
        "lora_id": lora and lora.lora_id,
    }


def _unpaired_text(folder: Path, unpaired: dict[str, str]) -> str:
    named = [f"  {name}: {why}" for name, why in list(unpaired.items())[:_MAX_NAMED]]
    if len(unpaired) > _MAX_NAMED:
        named.append(f"  and {len(unpaired) - _MAX_NAMED} more")
    return "\n".join(
        [
            f"{len(unpaired)} caption files of {folder} belong to no image; nothing was sent:",
            *named,
            "Give each the name of its image (img001.txt for img001.jpg). Or upload without them, "
            "with --skip-unpaired: those images then get captions as if nobody had written one.",
        ]
    )
