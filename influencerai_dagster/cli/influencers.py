"""`influencerai influencer`: add and list the virtual people of a tenant."""

from pathlib import Path
from typing import Annotated

import typer

from influencerai_dagster.cli.common import engine
from influencerai_dagster.cli.options import TenantName, parse_json, read_text
from influencerai_dagster.cli.output import (
    Document,
    Field,
    JsonOption,
    next_step,
    print_document,
    print_result,
    print_rows,
)
from influencerai_dagster.db import tenants
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.records import Influencer

influencer_app = typer.Typer(help="Influencers of a tenant.", no_args_is_help=True)
_FIELDS = (
    Field("influencer"),
    Field("name"),
    Field("dataset"),
    Field("trigger_phrase"),
    Field("class_caption", is_wide=True),
)


@influencer_app.command("add")
def add_influencer(  # noqa: PLR0917 - typer calls it by name
    name: str,
    tenant: TenantName,
    trigger_phrase: Annotated[str, typer.Option(help="Words that call the character.")] = "",
    class_caption: Annotated[
        str, typer.Option(help="General word for the character, like woman.")
    ] = "person",
    dataset: Annotated[str, typer.Option(help="Its dataset; its own name by default.")] = "",
    persona: Annotated[Path | None, typer.Option(help="A JSON file.")] = None,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Add or change an influencer of a tenant."""
    facts = {} if persona is None else parse_json(read_text(persona), str(persona), dict)
    with transaction(engine()) as session:
        saved = tenants.put_influencer(
            session,
            tenant,
            name,
            name=name,
            persona=facts,
            dataset=dataset or name,
            trigger_phrase=trigger_phrase or name,
            class_caption=class_caption,
        )
    print_result(_document(saved), f"influencer {name} of tenant {tenant} saved", as_json=as_json)
    next_step(
        f"upload its photos with `influencerai dataset upload FOLDER --dataset {saved.dataset} "
        f"--tenant {tenant}`"
    )


@influencer_app.command("list")
def list_influencers(tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """List the influencers of a tenant."""
    with transaction(engine()) as session:
        found = tenants.list_influencers(session, tenant)
    print_rows([_document(item) for item in found], _FIELDS, as_json=as_json)


@influencer_app.command("show")
def show_influencer(name: str, tenant: TenantName, as_json: JsonOption = False) -> None:  # noqa: FBT002
    """Show an influencer with its persona."""
    with transaction(engine()) as session:
        tenants.require_tenant(session, tenant)
        found = tenants.get_influencer(session, tenant, name)
    print_document(_document(found), as_json=as_json)


def _document(item: Influencer) -> Document:
    return {
        "tenant": item.tenant,
        "influencer": item.id,
        "name": item.name,
        "dataset": item.dataset,
        "trigger_phrase": item.trigger_phrase,
        "class_caption": item.class_caption,
        "persona": item.persona,
    }
