"""The command `influencerai`: one module per group of commands, which call stages, catalog or api.

Errors of ours end a command with their text and exit code 1; only unexpected ones show a traceback.
"""

import typer

from influencerai_dagster.cli.backup import backup_app
from influencerai_dagster.cli.common import OurErrors
from influencerai_dagster.cli.content import dataset_app, influencer_app, lora_app, tenant_app
from influencerai_dagster.cli.generate import generate
from influencerai_dagster.cli.jobs import jobs_app
from influencerai_dagster.cli.object_backup import backup_objects
from influencerai_dagster.cli.restore import drill, fetch, restore
from influencerai_dagster.cli.retention import retention_app
from influencerai_dagster.cli.stack import demo, doctor, migrate, up, webserver

app = typer.Typer(
    name="influencerai",
    help="Pictures and clips of virtual influencers for many tenants.",
    cls=OurErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (up, demo, doctor, migrate, webserver, generate, restore):
    app.command()(command)
app.add_typer(tenant_app, name="tenant")
app.add_typer(influencer_app, name="influencer")
app.add_typer(dataset_app, name="dataset")
app.add_typer(lora_app, name="lora")
app.add_typer(jobs_app, name="jobs")
app.add_typer(retention_app, name="retention")
app.add_typer(backup_app, name="backup")
backup_app.command("objects")(backup_objects)
backup_app.command("drill")(drill)
backup_app.command("fetch")(fetch)
