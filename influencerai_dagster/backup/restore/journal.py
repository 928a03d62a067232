"""Record the completed steps of a restore in a journal, so that it can be resumed.

With it a restore that was killed resumes. The file lies beside the target, not in it: the staging
directory is renamed when it is complete. What the steps do is in run.py.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationError

from influencerai_dagster.core.base import Value
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.files import write_whole


@dataclass(frozen=True)
class Step:
    """One step of a restore.

    Attributes:
        name: in the journal and in reports.
        text: what it does, for the operator.
    """

    name: str
    text: str


@dataclass(frozen=True)
class RestoreSteps:
    """The steps that make a running PostgreSQL from a backup, in their order."""

    copy: Step
    open: Step


class JournalState(Value):
    """The content of a journal file.

    Attributes:
        request: what was asked for; only the same request resumes.
        backup_id: the backup that was restored; steps made from another one do not count.
        seconds_by_step: duration of each completed step, in their order.
    """

    request: dict[str, str]
    backup_id: str | None = None
    seconds_by_step: dict[str, float] = Field(default_factory=dict)


class Journal:
    """The completed steps of one restore.

    Args:
        path: the file.
        request: what is asked for now.
        backup_id: the backup that would be restored now.
    """

    def __init__(self, path: Path, request: dict[str, str], backup_id: str) -> None:
        self.path = path
        self._state = JournalState(request=request, backup_id=backup_id)

    def load(self, *, is_forced: bool) -> None:
        """Read the completed steps of an earlier try of the same request.

        Args:
            is_forced: start over if the file belongs to another request.

        Raises:
            PermanentError: the file belongs to another request, or cannot be read.
        """
        try:
            found = JournalState.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return
        except ValidationError as error:
            if is_forced:
                return
            raise PermanentError(
                f"{self.path} is not a journal of a restore: move it away, then restore again"
            ) from error
        if found.request != self._state.request:
            if is_forced:
                return
            raise PermanentError(
                f"{self.path} is the journal of another restore, which has not ended: "
                f"{_shown(found.request)}; now asked for: {_shown(self._state.request)}. Ask for "
                "that one again to resume it, or use --force to discard it"
            )
        if found.backup_id == self._state.backup_id:  # `latest` may mean a newer one by now
            self._state = found

    @property
    def seconds_by_step(self) -> dict[str, float]:
        """Duration of each completed step."""
        return dict(self._state.seconds_by_step)

    @contextmanager
    def step(self, name: str) -> Iterator[bool]:
        """Record a step as completed when the block ends without an error.

        Yields:
            True if the step has not completed yet. A completed step may be run again; the journal
            then keeps the longer duration.
        """
        is_pending = name not in self._state.seconds_by_step
        started = time.monotonic()
        yield is_pending
        seconds = time.monotonic() - started
        self.note(name, seconds if is_pending else max(seconds, self._state.seconds_by_step[name]))

    def note(self, name: str, seconds: float) -> None:
        """Record a step as completed."""
        done = {**self._state.seconds_by_step, name: seconds}
        self._state = self._state.model_copy(update={"seconds_by_step": done})
        self._write()

    def forget(self, name: str) -> None:
        """Mark a step as not completed."""
        done = {key: value for key, value in self._state.seconds_by_step.items() if key != name}
        self._state = self._state.model_copy(update={"seconds_by_step": done})

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, self._state.model_dump_json(indent=2).encode())

    def remove(self) -> None:
        """Remove the file: the restore has ended."""
        self.path.unlink(missing_ok=True)


def _shown(request: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())
