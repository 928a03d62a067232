"""The journal of a restore: which steps are done, so that one that was killed goes on.

It lies beside the target and not in it: a target is moved into its place when it is whole. What the
steps do is in restore.py.
"""

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from influencerai_dagster.domain.base import Value
from influencerai_dagster.errors import PermanentError


class JournalState(Value):
    """What is written down.

    Attributes:
        request: what was asked for; a journal is of use for the same request only.
        seconds_by_step: how long each step took that is done, in their order.
    """

    request: dict[str, str]
    seconds_by_step: dict[str, float] = {}


class Journal:
    """The steps of one restore.

    Args:
        path: the file.
        request: what is asked for now.
    """

    def __init__(self, path: Path, request: dict[str, str]) -> None:
        self.path = path
        self._state = JournalState(request=request)

    def load(self) -> None:
        """Read what an earlier try of the same request has done.

        Raises:
            PermanentError: the file is of another request, or cannot be read.
        """
        try:
            found = JournalState.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return
        except ValidationError as error:
            raise PermanentError(
                f"{self.path} is no journal of a restore: move it away, then restore again"
            ) from error
        if found.request != self._state.request:
            raise PermanentError(
                f"{self.path} is the journal of another restore, which did not end: "
                f"{_shown(found.request)}; now asked for: {_shown(self._state.request)}. Ask for "
                "that one again to go on with it, or use --force to begin anew"
            )
        self._state = found

    @property
    def seconds_by_step(self) -> dict[str, float]:
        """How long each step took that is done."""
        return dict(self._state.seconds_by_step)

    def run(self, step: str, action: Callable[[], object]) -> None:
        """Do a step and write down that it is done; one that is done already is left out."""
        if step in self._state.seconds_by_step:
            return
        started = time.monotonic()
        action()
        seconds = {**self._state.seconds_by_step, step: time.monotonic() - started}
        self._state = self._state.model_copy(update={"seconds_by_step": seconds})
        self.write()

    def write(self) -> None:
        """Write the file: whole, or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(self._state.model_dump_json(indent=2))
        draft.replace(self.path)

    def remove(self) -> None:
        """Forget the restore: it has ended, or begins anew."""
        self.path.unlink(missing_ok=True)


def _shown(request: dict[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in request.items())
