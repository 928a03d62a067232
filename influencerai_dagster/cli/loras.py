"""`influencerai lora`: LoRAs and how they are trained."""

from typing import Annotated

import typer

from influencerai_dagster.catalog import lora_configs
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.cli.common import engine
from influencerai_dagster.cli.options import TenantName, parse_json
from influencerai_dagster.cli.output import JsonOption, print_result

lora_app = typer.Typer(help="LoRAs and how they are trained.", no_args_is_help=True)

OverridesOption = Annotated[
    str, typer.Option(help="Changed fields, as a JSON object: '{\"max_train_steps\": 800}'.")
]


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
