"""Command `influencerai dagster prepare`: prepare the instance of DAGSTER_HOME for its daemon."""

from typing import Annotated

import typer

from influencerai_dagster.cli.common import settings
from influencerai_dagster.cli.output import JsonOption, print_result

dagster_app = typer.Typer(help="The Dagster instance of DAGSTER_HOME.", no_args_is_help=True)


@dagster_app.callback()
def _group() -> None: ...


@dagster_app.command("prepare")
def prepare(
    fail_orphans: Annotated[  # noqa: FBT002 - typer's flag
        bool,
        typer.Option(
            "--fail-orphans",
            help="Also fail every run that should have a process: only while none can have one.",
        ),
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Set the pool limits of QUEUE_CONCURRENCY_* and GPU_SHARED.

    The daemon sets them at every start too; this command changes them while it runs.
    """
    from influencerai_dagster.orchestration import startup  # noqa: PLC0415 - imports Dagster
    from influencerai_dagster.orchestration.pools import pool_limits  # noqa: PLC0415 - as above

    limits = pool_limits(settings())
    with startup.dagster_instance() as instance:
        startup.apply_pool_limits(instance, limits)
        num_failed = startup.fail_orphaned_runs(instance) if fail_orphans else 0
    listed = ", ".join(f"{pool} {limit}" for pool, limit in limits.items())
    orphans = f"; {num_failed} orphaned runs failed" if fail_orphans else ""
    print_result(
        {"pool_limits": limits, "num_failed_runs": num_failed},
        f"pool limits: {listed}{orphans}",
        as_json=as_json,
    )
