"""Commands `down`, `logs` and `open`: control the stack from another terminal."""

import time
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from influencerai_dagster.cli.common import server_settings, settings
from influencerai_dagster.cli.job_files import file_link
from influencerai_dagster.cli.options import job_id as parse_job_id
from influencerai_dagster.cli.output import Field, JsonOption, console, print_result, print_rows
from influencerai_dagster.core.names import unknown_name
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
    data_dir = settings().local.data_dir.resolve()
    pid = stop_stack(data_dir, timeout_seconds=timeout)
    text = f"no stack runs in {data_dir}" if pid is None else f"the stack in {data_dir} is stopped"
    print_result({"data_dir": str(data_dir), "was_running": pid is not None}, text, as_json=as_json)


def logs(
    service: Annotated[str, typer.Argument(help="Without it all logs are listed.")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="From the end.")] = 50,
    follow: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")
    ] = False,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Print the log of a service of the stack; also of one that has ended."""
    folder = settings().local.data_dir.resolve() / "logs"
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
    data = path.read_bytes()
    shown = data.splitlines()[-lines:] if lines else []
    for line in shown:
        _print_line(line)
    if follow:
        with suppress(KeyboardInterrupt):
            _follow(path, len(data))


def open_page(
    job_id: Annotated[
        UUID | None,
        typer.Argument(metavar="[JOB]", parser=parse_job_id, help="Its file; without it the UI."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Tenant of the job.")] = "",
    browser: Annotated[  # noqa: FBT002 - typer's flag
        bool, typer.Option("--browser/--no-browser", help="Or only print the address.")
    ] = True,
    as_json: JsonOption = False,  # noqa: FBT002 - typer's flag
) -> None:
    """Open Dagster's UI, or the file of a job, in the browser; prints the address too."""
    if job_id is not None and not tenant:
        raise PermanentError("The job was not looked up: name its tenant with --tenant NAME")
    url = server_settings().dagster.url if job_id is None else file_link(tenant, job_id)
    is_opened = browser and _open(url)
    print_result({"url": url, "is_opened": is_opened}, url, as_json=as_json)


def _open(url: str) -> bool:
    """Open a graphical browser, if there is one; one that takes the terminal is none."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(browser) is webbrowser.GenericBrowser:
        return False
    return browser.open(url)


def _print_line(line: bytes) -> None:
    text = line.decode("utf-8", errors="replace")
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def _follow(path: Path, position: int) -> None:
    """Print what is appended to a log; one that was emptied is read from its beginning."""
    rest = b""
    while True:
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position, rest = 0, b""
        if size > position:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read()
            position += len(data)
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                _print_line(line)
        time.sleep(_POLL_SECONDS)
