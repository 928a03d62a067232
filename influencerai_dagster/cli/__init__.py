"""The command `influencerai`: one module per group of commands, which call stages, catalog or api.

Errors of ours end a command with their text and exit code 1; only unexpected ones show a traceback.
"""

import typer

from influencerai_dagster.cli import content, generate, jobs, stack
from influencerai_dagster.cli.common import OurErrors

app = typer.Typer(
    name="influencerai",
    help="Pictures and clips of virtual influencers for many tenants.",
    cls=OurErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(stack.up)
app.command("demo")(stack.demo)
app.command("doctor")(stack.doctor)
app.command("migrate")(stack.migrate)
app.command("generate")(generate.generate)
app.add_typer(content.tenant_app, name="tenant")
app.add_typer(content.influencer_app, name="influencer")
app.add_typer(content.dataset_app, name="dataset")
app.add_typer(content.lora_app, name="lora")
app.add_typer(jobs.app, name="jobs")
