"""`influencerai lora`: list LoRAs, start trainings, set training parameters."""

from contextlib import closing
from typing import Annotated

import typer

from influencerai_dagster.cli.common import engine, settings, store
from influencerai_dagster.cli.options import TenantName, parse_json
from influencerai_dagster.cli.output import (
    Document,
    Field,
    JsonOption,
    next_step,
    print_document,
    print_result,
    print_rows,
)
from influencerai_dagster.cli.web_server import dagster
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.loras import LoraManifest
from influencerai_dagster.dagster_client.trainings import launch_training
from influencerai_dagster.db import loras
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.records import Lora
from influencerai_dagster.db.tenants import require_tenant
from influencerai_dagster.storage.manifests import load_unverified
from influencerai_dagster.training import lora_configs
from influencerai_dagster.training.dataset_names import require_dataset

lora_app = typer.Typer(help="LoRAs and their trainings.", no_args_is_help=True)

_MIB = 1024**2
_FIELDS = (
    Field("lora_id", "LoRA"),
    Field("dataset"),
    Field("base_model_family", "family"),
    Field("trigger_phrase", "trigger phrase"),
    Field("size_bytes", "MiB", shown=lambda value: f"{value / _MIB:,.1f}", is_number=True),
    Field("created_at", "trained at (UTC)"),
)

OverridesOption = Annotated[
    str, typer.Option(help="Changed fields, as a JSON object: '{\"max_train_steps\": 800}'.")
]


@lora_app.command("list")
def list_loras(
    tenant: TenantName,
    dataset: Annotated[str, typer.Option(help="Only of this dataset.")] = "",
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """List the LoRAs of a tenant, the newest of each dataset first."""
    if dataset:
        require_dataset(engine(), store(), DatasetKey(tenant, dataset))
    with transaction(engine()) as session:
        found = loras.list_loras(session, tenant, dataset or None)
    print_rows([_document(lora) for lora in found], _FIELDS, as_json=as_json)


@lora_app.command("show")
def show_lora(lora_id: str, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Show a LoRA: what it was made of, with which parameters, and how its training went."""
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        lora = loras.require_lora(session, tenant, lora_id)
    manifest = load_unverified(store(), lora.manifest_key, LoraManifest).manifest
    training = manifest.model_dump(
        include={"steps", "final_loss", "train_seconds", "is_simulated", "sd_scripts_commit"}
    )
    document = {**_document(lora), **training, "config": manifest.config.model_dump(mode="json")}
    print_document(document, as_json=as_json)


@lora_app.command("train")
def train_lora(  # noqa: PLR0917 - typer calls it by name
    dataset: str,
    tenant: TenantName,
    config: Annotated[
        str, typer.Option(help="A LoRA config of the tenant, or a preset; its default one if not.")
    ] = "",
    overrides: OverridesOption = "{}",
    retrain: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--retrain", help="Train even if the same recipe was trained before.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Launch a training of a dataset, and do not wait for it."""
    changes = parse_json(overrides, "--overrides", dict)
    with closing(dagster()) as client:
        run_id = launch_training(
            client,
            engine(),
            store(),
            DatasetKey(tenant, dataset),
            config=config or None,
            overrides=changes,
            retrain=retrain,
            default_preset=settings().training.default_preset,
        )
    url = f"{settings().dagster.url}/runs/{run_id}"
    print_result({"run_id": run_id, "url": url}, f"training launched: {url}", as_json=as_json)
    next_step(f"`influencerai dataset status {dataset} --tenant {tenant}` shows its steps")


@lora_app.command("config")
def put_lora_config(  # noqa: PLR0917 - typer calls it by name
    name: str,
    tenant: TenantName,
    preset: Annotated[str, typer.Option(help="sd15-face, sdxl-face or flux-face.")] = "sd15-face",
    overrides: OverridesOption = "{}",
    default: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--default", help="Use it for every training.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Save a named LoRA config of a tenant: a preset with some fields changed."""
    changes = parse_json(overrides, "--overrides", dict)
    with transaction(engine()) as session:
        config = lora_configs.put_lora_config(
            session, tenant, name, preset=preset, overrides=changes, is_default=default
        )
    print_result(
        {"tenant": tenant, "name": name, "preset": preset, "is_default": default}
        | {"config": config},
        f"LoRA config {name} of tenant {tenant} saved",
        as_json=as_json,
    )


def _document(lora: Lora) -> Document:
    return {
        "tenant": lora.tenant,
        "lora_id": lora.lora_id,
        "dataset": lora.dataset,
        "dataset_version": lora.dataset_version,
        "base_model_family": lora.base_model_family.value,
        "trigger_phrase": lora.trigger_phrase,
        "weights_key": lora.weights_key,
        "size_bytes": lora.size_bytes,
        "sha256": lora.sha256,
        "created_at": lora.created_at,
    }
