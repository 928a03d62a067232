"""`influencerai dataset`: the photos of an influencer."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from influencerai_dagster.catalog import tenants
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.cli.common import engine, settings, store
from influencerai_dagster.cli.options import TenantName
from influencerai_dagster.cli.output import JsonOption, next_step, notes, print_result
from influencerai_dagster.domain.keys import DatasetKey
from influencerai_dagster.stages.uploads import files_to_upload, upload_folder

dataset_app = typer.Typer(help="Photos of an influencer.", no_args_is_help=True)


@dataset_app.command("upload")
def upload_dataset(
    folder: Path,
    tenant: TenantName,
    dataset: Annotated[str, typer.Option(help="The dataset; the folder's name by default.")] = "",
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Upload the photos and captions of a folder; run it again to go on where it stopped."""
    key = DatasetKey(tenant, dataset or folder.resolve().name)
    with transaction(engine()) as session:
        tenants.require_tenant(session, tenant)
    total = len(files_to_upload(folder))
    columns = (TextColumn("upload"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task("upload", total=total)
        sent = upload_folder(store(), key, folder, lambda _path, _sent: progress.advance(bar))
    print_result(
        {"dataset": str(key), "files_sent": sent, "files_there_already": total - sent},
        f"{sent} files sent to dataset {key}, {total - sent} were there already",
        as_json=as_json,
    )
    next_step(
        f"dataset, captions and LoRA are made by themselves, {settings().dataset_settle_seconds} s "
        f"after the last upload: `influencerai dataset status {key.dataset} --tenant {tenant}`, or "
        f"{settings().dagster_url}/assets/dataset?view=partitions&partition={tenant}%2F{key.dataset}"
    )
