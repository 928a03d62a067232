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
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.stages.uploads import files_to_upload, unpaired_captions, upload_folder

dataset_app = typer.Typer(help="Photos of an influencer.", no_args_is_help=True)


_MAX_NAMED = 20


@dataset_app.command("upload")
def upload_dataset(
    folder: Path,
    tenant: TenantName,
    dataset: Annotated[str, typer.Option(help="The dataset; the folder's name by default.")] = "",
    skip_unpaired: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--skip-unpaired", help="Leave out caption files of no image.")
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
