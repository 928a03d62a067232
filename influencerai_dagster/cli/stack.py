"""Commands `up`, `demo`, `doctor`, `migrate`, `webserver` and `api`: start and check the stack."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from influencerai_dagster.cli.common import console, engine, server_settings, store
from influencerai_dagster.cli.doctor import run_checks
from influencerai_dagster.cli.output import JsonOption, next_step, notes
from influencerai_dagster.cli.web_server import dagster_at
from influencerai_dagster.db.api_role import prepare_api_role
from influencerai_dagster.db.migrate import upgrade
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.demo import Demo, StageResult
from influencerai_dagster.local.samples import BELLA_DIR
from influencerai_dagster.local.stack import Stack, run_stack
from influencerai_dagster.settings import Settings, load_settings

LINEAGE_GROUPS = ("datasets", "loras", "generation")
"""The asset groups of the pipeline. Dagster's lineage shows a group closed, unless its address
names it; the other groups have no edge to these."""

_DEMO_SETTINGS = {"DATASET_SETTLE_SECONDS": "2", "GENERATION_IDLE_TIMEOUT_SECONDS": "2"}
"""Uploads and jobs of the demo come all at once, so waiting for more of them is short."""


def up() -> None:
    """Start the stack on this machine and keep it running."""
    stack = _stack(load_settings())

    def greet() -> None:
        _greet(stack)
        next_step(
            "in another terminal `influencerai tenant add NAME`, then `influencerai dataset upload "
            "FOLDER --tenant NAME`; `influencerai status` shows what runs, `influencerai down` or "
            "Ctrl-C stops it"
        )

    run_stack(stack, greet, announce=_announce, show_start=_show_start)


def demo(
    exit_: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--exit", help="Stop everything when the last stage is done.")
    ] = False,
) -> None:
    """Start the stack and run the main job on the sample photos."""
    stack = _stack(load_settings())
    own = stack.settings.variables_set()
    shorter = {name: value for name, value in _DEMO_SETTINGS.items() if name not in own}
    stack.environment.update(shorter)
    if shorter:
        values = " ".join(f"{name}={value}" for name, value in shorter.items())
        _announce(f"Settings of the demo, unless you set them yourself: {values}")

    def run() -> None:
        _greet(stack)
        with (
            console.status("") as status,
            closing(dagster_at(stack.dagster_url, stack.settings)) as dagster,
        ):
            results = Demo(
                engine=engine(),
                store=store(),
                dagster=dagster,
                samples=BELLA_DIR,
                announce=console.print,
                show=status.update,
            ).run()
        _show(results, stack)
        if not exit_:
            console.print("Everything keeps running; Ctrl-C stops it.")

    run_stack(stack, run, announce=_announce, show_start=_show_start, stays_up=not exit_)


def doctor(as_json: JsonOption = False) -> None:  # noqa: FBT002 - typer's flag
    """Check every part of the system and say what is wrong and what to do."""
    if not run_checks(server_settings(), as_json=as_json):
        raise typer.Exit(1)


def migrate() -> None:
    """Bring the catalog's tables to this version."""
    url = server_settings().database.url
    upgrade(url)
    console.print("the catalog is at the newest migration")
    try:
        prepare_api_role(url)
    except PermanentError as error:  # the catalog is migrated; only the API does not start
        notes.print(str(error), markup=False, highlight=False)


def webserver(
    workspace: Annotated[Path, typer.Option(help="The file that names the code server.")] = Path(
        "workspace.yaml"
    ),
) -> None:
    """Serve the Dagster UI and GraphQL at DAGSTER_WEBSERVER_HOST until Ctrl-C."""
    from influencerai_dagster.webserver.server import serve  # noqa: PLC0415 - imports Dagster

    serve(load_settings(), workspace)


def api() -> None:
    """Serve the tenants' API at API_HOST and PORT until Ctrl-C."""
    from influencerai_dagster.api.server import serve  # noqa: PLC0415 - imports FastAPI

    serve(load_settings())


def _announce(line: str) -> None:
    # The terminal may be gone, or the program that read our pipe (rich then raises SystemExit): the
    # services have to be watched and stopped all the same.
    with suppress(OSError, SystemExit):
        console.print(line, markup=False, highlight=False)


@contextmanager
def _show_start() -> Iterator[Callable[[str], None]]:
    """Show a line that changes with the services that start, then how long that took."""
    began = time.monotonic()
    with console.status("starting") as status:
        yield lambda text: status.update(f"starting the stack: {text}, {_since(began)}")
    console.print(f"[green]✓[/] PostgreSQL, S3, the engines and Dagster run ({_since(began)})")


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s"


def _stack(own: Settings) -> Stack:
    def location_problem(url: str) -> str | None:
        with closing(dagster_at(url, own)) as dagster:
            return dagster.location_problem()

    return Stack(own, location_problem=location_problem)


def _greet(stack: Stack) -> None:
    simulated = [
        name
        for name, is_simulated in (
            ("ComfyUI (COMFYUI_URL)", stack.simulated.comfyui),
            ("kohya sd-scripts (KOHYA_DIR)", stack.simulated.kohya),
            ("OpenRouter (OPENROUTER_API_KEY)", stack.simulated.openrouter),
        )
        if is_simulated
    ]
    console.print(f"Dagster UI   {stack.dagster_url}")
    console.print(f"API          {stack.api_url}/api/docs")
    console.print(
        f"S3           {stack.environment['S3_ENDPOINT']} bucket {stack.settings.s3.bucket}"
    )
    console.print(f"logs         {stack.settings.local.data_dir / 'logs'}")
    if simulated:
        console.print(f"simulated    {', '.join(simulated)}")


def lineage_url(dagster_url: str) -> str:
    """Return the address of the lineage with the pipeline's groups open."""
    groups = ",".join(f"global@global:{group}" for group in LINEAGE_GROUPS)
    return f"{dagster_url}/asset-groups?expanded={groups}"


def _show(results: list[StageResult], stack: Stack) -> None:
    table = Table("stage", "made", "seconds")
    for result in results:
        seconds = "kept" if result.seconds is None else f"{result.seconds:.1f}"
        table.add_row(result.asset, result.made, seconds)
    console.print(table)
    total = sum(result.seconds or 0 for result in results)
    console.print(f"pipeline     {total:.1f} s", highlight=False)
    console.print(f"lineage      {lineage_url(stack.dagster_url)}", soft_wrap=True, highlight=False)
    trainings = f"{stack.dagster_url}/runs?q[0]=tag:stage=loras"
    console.print(f"trainings    {trainings}", markup=False, soft_wrap=True, highlight=False)
    for result in results:
        partition = quote(result.partition_key, safe="")
        link = f"{stack.dagster_url}/assets/{result.asset}?view=partitions&partition={partition}"
        console.print(f"  {result.asset:17}{link}", soft_wrap=True, highlight=False)
    console.print("Look at what was made:")
    for output in (output for result in results for output in result.outputs):
        path = stack.bucket_dir / output.object_key
        console.print(f"  {output.prompt}", markup=False, highlight=False)
        console.print(f"    {path}", style=f"link {path.resolve().as_uri()}", soft_wrap=True)
