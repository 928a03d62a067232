"""Ask the fork server: one line of JSON each way, over a Unix socket in a private folder."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import TransientError

MAX_LINE_BYTES = 1_000_000
"""A request holds the arguments of `dagster api execute_run`: a few kB of the instance's config."""
_SOCKET_NAME = "socket"


class Request(Value):
    """What a fork server is asked.

    Attributes:
        action: `launch` and `terminate` name a run, `describe` asks for the server itself.
        code_server_id: of the code server whose definitions the launcher knows.
        arguments: of the program `dagster`, which execute the run.
    """

    action: Literal["launch", "terminate", "describe"]
    run_id: str = ""
    code_server_id: str = ""
    arguments: tuple[str, ...] = ()


class Reply(Value):
    """What a fork server answers.

    Attributes:
        refusal: why it did not do what it was asked; None if it did.
        may_retry: whether the same request may succeed later.
        pid: process id of the run, or of the server if that was asked for.
        code_server_id: of the code server that this server started.
        num_runs: processes of runs that are alive.
    """

    refusal: str | None = None
    may_retry: bool = False
    pid: int = 0
    code_server_id: str = ""
    num_runs: int = 0

    def encoded(self) -> bytes:
        """Return the line."""
        return self.model_dump_json().encode() + b"\n"


def listen(folder: Path) -> socket.socket:
    """Listen in a folder, and replace the socket of a server that has ended.

    Raises:
        OSError: the socket cannot be made.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short_path(folder) as path:
        Path(path).unlink(missing_ok=True)
        listener.bind(path)
    listener.listen(128)
    listener.settimeout(0)
    return listener


def ask(folder: Path, request: Request, *, timeout_seconds: float) -> Reply:
    """Send a request to the fork server of a folder and return its reply.

    Raises:
        TransientError: it gave no reply; the text says why.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_seconds)
            with _short_path(folder) as path:
                connection.connect(path)
            connection.sendall(request.model_dump_json().encode() + b"\n")
            line = connection.makefile("rb").readline(MAX_LINE_BYTES)
        return Reply.model_validate_json(line)
    except (OSError, ValidationError) as error:
        why = _explained(error, timeout_seconds)
        raise TransientError(
            f"the fork server in {folder} was asked to {request.action} and gave no reply: {why}. "
            "It is started with the code server, so look whether that runs, and at its log."
        ) from error


def _explained(error: OSError | ValidationError, timeout_seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"it did not answer within {timeout_seconds:g} s"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return "it does not run"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "it closed the connection"


@contextmanager
def _short_path(folder: Path) -> Iterator[str]:
    """Give a path of the socket that fits into the 108 bytes of an address."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{_SOCKET_NAME}"
    finally:
        os.close(descriptor)
