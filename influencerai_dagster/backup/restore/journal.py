"""The journal of a restore: which steps are done, so that one that was killed goes on.

It lies beside the target and not in it: a target is moved into its place when it is whole. What the
steps do is in run.py.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import write_whole


class JournalState(Value):
    """What is written down.

    Attributes:
        request: what was asked for; a journal is of use for the same request only.
        backup_id: what it was restored from; the steps of another backup are not done.
        seconds_by_step: how long each step took that is done, in their order.
    """

    request: dict[str, str]
    backup_id: str | None = None
    seconds_by_step: dict[str, float] = Field(default_factory=dict)


class Journal:
    """The steps of one restore.

    Args:
        path: the file.
        request: what is asked for now.
        backup_id: what it would be restored from now.
    """

    def __init__(self, path: Path, request: dict[str, str], backup_id: str) -> None:
        self.path = path
        self._state = JournalState(request=request, backup_id=backup_id)

    def load(self, *, is_forced: bool) -> None:
        """Read what an earlier try of the same request has done.

        Args:
            is_forced: begin anew where the file is of another request.

        Raises:
            PermanentError: the file is of another request, or cannot be read.
        """
        try:
            found = JournalState.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return
        except ValidationError as error:
            if is_forced:
                return
            raise PermanentError(
                f"{self.path} is no journal of a restore: move it away, then restore again"
            ) from error
        if found.request != self._state.request:
            if is_forced:
                return
            raise PermanentError(
                f"{self.path} is the journal of another restore, which did not end: "
                f"{_shown(found.request)}; now asked for: {_shown(self._state.request)}. Ask for "
                "that one again to go on with it, or use --force to forget it"
            )
        if found.backup_id == self._state.backup_id:  # `latest` may be of a newer one by now
            self._state = found

    @property
    def seconds_by_step(self) -> dict[str, float]:
        """How long each step took that is done."""
        return dict(self._state.seconds_by_step)

    @contextmanager
    def step(self, name: str) -> Iterator[bool]:
        """Write down that a step is done when the block ends; gives whether it is still to be done.

        A step that is done may be done again: it then counts with its newest time.
        """
        is_open = name not in self._state.seconds_by_step
        started = time.monotonic()
        yield is_open
        seconds = time.monotonic() - started
        self.note(name, seconds if is_open else max(seconds, self._state.seconds_by_step[name]))

    def note(self, name: str, seconds: float) -> None:
        """Write down that a step is done."""
        done = {**self._state.seconds_by_step, name: seconds}
        self._state = self._state.model_copy(update={"seconds_by_step": done})
        self._write()

    def forget(self, name: str) -> None:
        """Let a step be done again."""
        done = {key: value for key, value in self._state.seconds_by_step.items() if key != name}
        self._state = self._state.model_copy(update={"seconds_by_step": done})

    def _write(self) -> None:
        """Write the file: whole, or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self._state.model_dump_json(indent=2).encode())

    def remove(self) -> None:
        """Forget the restore: it has ended, or begins anew."""
        self.path.unlink(missing_ok=True)


def _shown(request: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())
