"""Execute a run in a forked process, exactly as `dagster api execute_run` does."""

from collections.abc import Callable, Sequence

from influencerai_dagster.errors import InfluencerAIError
from influencerai_dagster.files import explained
from influencerai_dagster.orchestration.run_launcher.connections import Connection
from influencerai_dagster.orchestration.run_launcher.forked import leave_session
from influencerai_dagster.orchestration.run_launcher.protocol import Reply, Request
from influencerai_dagster.orchestration.run_launcher.run_records import RunFolder

RunProgram = Callable[[Sequence[str]], None]


def execute_run(
    folder: RunFolder, request: Request, client: Connection, run_program: RunProgram
) -> None:
    """Begin a run, tell its launcher, and execute it.

    Args:
        folder: gets the record of this process.
        request: of the launcher.
        client: the launcher's connection.
        run_program: runs a program of Dagster in this process.
    """
    leave_session(f"run {request.run_id}")
    try:
        folder.begin(request.run_id)
    except InfluencerAIError as error:
        client.answer(Reply(refusal=str(error)))
        return
    except OSError as error:
        why = f"its process cannot be recorded in {folder.path}: {explained(error)}"
        client.answer(Reply(refusal=why, may_retry=True))
        return
    client.answer(Reply())
    run_program(request.arguments)
