"""Define the options that many commands have."""

import json
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from influencerai_dagster.core.keys import DayKey, parse_day, today
from influencerai_dagster.core.names import json_kind
from influencerai_dagster.errors import PermanentError

TenantName = Annotated[str, typer.Option("--tenant", help="The tenant.")]
DayOption = Annotated[str, typer.Option(help="YYYY-MM-DD in UTC; today by default.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


def job_id(text: str) -> UUID:
    """Return the job id that a command line has."""
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"'{text}' is not a whole job id: those have 36 characters, "
            "and `influencerai jobs list` shows them"
        ) from None


JobId = Annotated[UUID, typer.Argument(metavar="JOB_ID", parser=job_id)]
JobIds = Annotated[list[UUID] | None, typer.Argument(metavar="JOB…", parser=job_id)]


def day_key(tenant: str, day: str) -> DayKey:
    """Return the tenant-day that a command means; an empty day is today."""
    return DayKey(tenant, parse_day(day) if day else today())


def read_text(path: Path) -> str:
    """Return the text of a file that the command line names.

    Raises:
        PermanentError: it is not there, cannot be read, or is not UTF-8.
    """
    if not path.exists():
        raise PermanentError(f"There is no file {path} (looked in {path.absolute().parent})")
    if path.is_dir():
        raise PermanentError(f"{path} is a folder: name a file")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise PermanentError(f"{path} is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from None


def parse_json(text: str, what: str, wanted: type[dict[str, Any]] | type[list[Any]]) -> Any:  # noqa: ANN401 - JSON
    """Return JSON that the command line names.

    Args:
        text: the JSON.
        what: where it is from, for the error.
        wanted: an object or a list.

    Raises:
        PermanentError: it is not JSON, or of another kind.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise PermanentError(f"{what} is not JSON: {error}") from None
    if not isinstance(value, wanted):
        raise PermanentError(
            f"{what} must be {json_kind(wanted())} in JSON, but it is {json_kind(value)}"
        )
    return value
