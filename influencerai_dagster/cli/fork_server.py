"""Ask the fork server, which starts the processes of Dagster's runs."""

from pathlib import Path

from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.orchestration.run_launcher.protocol import Request, ask
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

_ANSWER_SECONDS = 5.0
_LAUNCHER = "PreloadedRunLauncher"


def starts_runs(dagster_home: Path) -> bool:
    """Tell whether the dagster.yaml of an instance lets a fork server start its runs."""
    try:
        return _LAUNCHER in (dagster_home / "dagster.yaml").read_text(encoding="utf-8")
    except OSError:
        return False


def describe(dagster_home: Path) -> str:
    """Return what a fork server says of itself.

    Raises:
        PermanentError: it does not answer.
    """
    request = Request(action="describe")
    try:
        reply = ask(RunFolder.below(dagster_home).path, request, timeout_seconds=_ANSWER_SECONDS)
    except TransientError as error:
        raise PermanentError(f"{error} Runs wait in the queue until it is back") from error
    return f"process {reply.pid} in {dagster_home}, {reply.num_runs} processes of runs"
