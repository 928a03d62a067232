"""Define the command `influencerai`; each group of commands is one module of this folder.

Exit codes: 0 the command succeeded; 1 it failed, and the text says why; 2 the command line has an
unknown command, option or value. Only unexpected errors show a traceback.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from influencerai_dagster.cli.group import Commands, LazyCommand

COMMANDS = {
    "up": LazyCommand("Start the stack on this machine and keep it running.", "stack", "up"),
    "demo": LazyCommand(
        "Start the stack and run the main job on the sample photos.", "stack", "demo"
    ),
    "doctor": LazyCommand(
        "Check every part of the system and say what is wrong and what to do.", "stack", "doctor"
    ),
    "status": LazyCommand(
        "Show services, queue, runs, last backups and disk on one screen.", "status", "status"
    ),
    "logs": LazyCommand(
        "Print the log of a service of the stack; also of one that has ended.",
        *("stack_control", "logs"),
    ),
    "open": LazyCommand(
        "Open Dagster's UI, or the file of a job, in the browser; prints the address too.",
        *("stack_control", "open_page"),
    ),
    "down": LazyCommand(
        "Stop the stack of this folder from another terminal; its data stays.",
        *("stack_control", "down"),
    ),
    "migrate": LazyCommand("Bring the catalog's tables to this version.", "stack", "migrate"),
    "webserver": LazyCommand(
        "Serve the Dagster UI and GraphQL at DAGSTER_WEBSERVER_HOST until Ctrl-C.",
        *("stack", "webserver"),
    ),
    "api": LazyCommand("Serve the tenants' API at API_HOST and PORT until Ctrl-C.", "stack", "api"),
    "generate": LazyCommand(
        "Render images of one prompt, and videos of them, and wait for them.",
        "generate",
        "generate",
    ),
    "restore": LazyCommand(
        "Restore both databases and the objects to one target time; Dagster may be down.",
        *("restore", "restore"),
    ),
    "tenant": LazyCommand("Tenants: the owners of all content.", "tenants", "tenant_app"),
    "user": LazyCommand("Users of the tenants' API.", "access", "user_app"),
    "api-key": LazyCommand("API keys of users.", "access", "api_key_app"),
    "audit": LazyCommand("The audit log of the tenants' API.", "access", "audit_app"),
    "influencer": LazyCommand("Influencers of a tenant.", "influencers", "influencer_app"),
    "dataset": LazyCommand("Photos of an influencer.", "datasets", "dataset_app"),
    "lora": LazyCommand("LoRAs and their trainings.", "loras", "lora_app"),
    "jobs": LazyCommand("Generation jobs.", "jobs", "jobs_app"),
    "retention": LazyCommand("Retention periods and legal holds.", "retention", "retention_app"),
    "dagster": LazyCommand("The Dagster instance of DAGSTER_HOME.", "dagster_group", "dagster_app"),
    "backup": LazyCommand(
        "Backups of the databases and the objects.", "backup_group", "backup_app"
    ),
}
Commands.lazy = COMMANDS

app = typer.Typer(
    name="influencerai",
    help="Images and videos of virtual influencers for many tenants.",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's callback
    if is_asked:
        typer.echo(f"influencerai {version('influencerai-dagster')}")
        raise typer.Exit


@app.callback()
def _main(
    _version: Annotated[  # noqa: FBT002 - typer's flag
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None: ...
