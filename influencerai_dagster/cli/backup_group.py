"""Group the commands of `influencerai backup` from three modules."""

from influencerai_dagster.cli.backup import backup_app
from influencerai_dagster.cli.object_backup import backup_objects
from influencerai_dagster.cli.restore import drill, fetch

__all__ = ["backup_app"]

backup_app.command("objects")(backup_objects)
backup_app.command("drill")(drill)
backup_app.command("fetch")(fetch)
