"""`influencerai down | logs | open`: the stack from another terminal, its logs, its pages."""

import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from influencerai_dagster.catalog import ledger
from influencerai_dagster.catalog.engine import transaction
from influencerai_dagster.catalog.tenants import require_tenant
from influencerai_dagster.cli.common import engine, server_settings, settings, store
from influencerai_dagster.cli.options import job_id as parse_job_id
from influencerai_dagster.cli.output import (
    Field,
    JsonOption,
    console,
    print_result,
    print_rows,
)
from influencerai_dagster.domain.names import unknown_name
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.local.running_stack import stop_stack

_POLL_SECONDS = 0.3
_LOG_FIELDS = (
    Field("service"),
    Field("size_bytes", "bytes", shown="{:,}".format, is_number=True),
    Field("path", is_wide=True),
)


def down(
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for its end.")] = 120.0,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Stop the stack of this folder from another terminal; its data stays."""
    data_dir = settings().data_dir.resolve()
    pid = stop_stack(data_dir, timeout_seconds=timeout)
    text = f"no stack runs in {data_dir}" if pid is None else f"the stack in {data_dir} is stopped"
    print_result({"data_dir": str(data_dir), "was_running": pid is not None}, text, as_json=as_json)


def logs(
    service: Annotated[str, typer.Argument(help="Without it all logs are listed.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="From the end.")] = 50,
    follow: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--follow", "-f", help="Print what comes, until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Print the log of a service of the stack; also of one that has ended."""
    folder = settings().data_dir.resolve() / "logs"
    found = {path.stem: path for path in sorted(folder.glob("*.log"))}
    if not service:
        rows = [
            {"service": name, "size_bytes": path.stat().st_size, "path": str(path)}
            for name, path in found.items()
        ]
        print_rows(rows, _LOG_FIELDS, as_json=as_json)
        return
    if service not in found:
        problem = f"There is no log of {service!r} in {folder}"
        raise unknown_name(problem, service, found, plural="logs")
    path = found[service]
    text = path.read_text(encoding="utf-8", errors="replace")
    for line in text.splitlines()[-lines:] if lines else []:
        _print_line(line)
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(path, len(text.encode("utf-8", errors="replace")))


def open_page(
    job_id: Annotated[
        UUID | None,
        typer.Argument(metavar="[JOB]", parser=parse_job_id, help="Its file; without it the UI."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Whose job it is.")] = "",
    browser: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--browser/--no-browser", help="Or only print the address.")
    ] = True,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Open Dagster's UI, or the file of a job, in the browser; prints the address too."""
    url = server_settings().dagster_url if job_id is None else _file_url(job_id, tenant)
    is_opened = browser and _open(url)
    print_result({"url": url, "is_opened": is_opened}, url, as_json=as_json)


def _file_url(job_id: UUID, tenant: str) -> str:
    if not tenant:
        raise PermanentError("say whose job it is: --tenant NAME")
    with transaction(engine()) as session:
        require_tenant(session, tenant)
        job = ledger.get_job(session, tenant, job_id)
        asset = ledger.media_asset_of_job(session, tenant, job_id)
    if asset is None:
        raise PermanentError(f"job {job_id} is {job.status}: it has no file to open")
    seconds = settings().s3_presign_seconds
    return store().presign_get(asset.object_key, expires_seconds=seconds)


def _open(url: str) -> bool:
    """Open a graphical browser, if there is one; one that takes the terminal is none."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser:
        return False
    return browser.open(url)


def _print_line(line: str) -> None:
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def _follow(path: Path, position: int) -> None:
    """Print what is appended to a log; one that was emptied is read from its beginning."""
    rest = ""
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            *whole, rest = (rest + data.decode("utf-8", errors="replace")).split("\n")
            for line in whole:
                _print_line(line)
        time.sleep(_POLL_SECONDS)
