"""Keep older contents of objects at the backup target, and since when an object is missing.

    history/<YYYYmmddTHHMMSSZ>/<key>    content of an object that a newer one replaced
    wrong/<YYYYmmddTHHMMSSZ>/<key>      corrupt bytes that verification/object_repair.py replaced
    <folder>-missing.json               since when an object is missing at the source

The copies are made in copies.py.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from influencerai_dagster.backup.objects.rclone import Rclone
from influencerai_dagster.core.recovery_window import is_past_window

OBJECTS = "objects"
CORRUPT = "wrong"
"""The folder's name on backup targets since the first release."""
STAMP = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class ObjectHistory:
    """The history of one folder of the target.

    Attributes:
        rclone: with the remote `target:`.
        folder: at the target.
    """

    rclone: Rclone
    folder: str

    def path_of(self, now: datetime) -> str:
        """Return the path for contents that are replaced now."""
        return f"{self._path}/{now.strftime(STAMP)}"

    def versions(self) -> Iterator[str]:
        """Yield the paths of contents: the newest, then older ones."""
        yield f"target:{self.folder}"
        for stamp in sorted(self._stamps(self._name), reverse=True):
            yield f"{self._path}/{stamp}"

    def note_missing(
        self, gone: Collection[str], recovery_window: timedelta, now: datetime, *, may_prune: bool
    ) -> tuple[Mapping[str, datetime], Collection[str]]:
        """Delete objects missing at the source for longer than the window; record the others.

        Returns:
            Since when the other objects are missing, and the keys that were deleted.
        """
        text = self.rclone.read(self._missing_path) or "{}"
        known = {key: datetime.fromisoformat(value) for key, value in json.loads(text).items()}
        missing = still_missing(known, gone, now)
        over = {
            key
            for key, at in missing.items()
            if may_prune and is_past_window(at, recovery_window, now)
        }
        if over:
            self.rclone.delete(f"target:{self.folder}", over)
        left = {key: at for key, at in missing.items() if key not in over}
        if left or known:
            shown = {key: at.isoformat() for key, at in left.items()}
            self.rclone.write(self._missing_path, json.dumps(shown))
        return left, sorted(over)

    def prune(self, recovery_window: timedelta, now: datetime) -> None:
        """Delete contents that were replaced longer ago than the window, corrupt bytes too."""
        parents = [self._name, CORRUPT] if self.folder == OBJECTS else [self._name]
        for parent in parents:
            for stamp, replaced_at in self._stamps(parent).items():
                if is_past_window(replaced_at, recovery_window, now):
                    self.rclone.purge(f"target:{parent}/{stamp}")

    def _stamps(self, parent: str) -> Mapping[str, datetime]:
        """Return the folders below one and their times, without those of other names."""
        found = {}
        for name in self.rclone.folders(f"target:{parent}"):
            with suppress(ValueError):
                found[name] = datetime.strptime(name, STAMP).replace(tzinfo=UTC)
        return found

    @property
    def _name(self) -> str:
        return "history" if self.folder == OBJECTS else f"{self.folder}-history"

    @property
    def _path(self) -> str:
        return f"target:{self._name}"

    @property
    def _missing_path(self) -> str:
        return f"target:{self.folder}-missing.json"


def still_missing(
    known: Mapping[str, datetime], missing: Iterable[str], now: datetime
) -> dict[str, datetime]:
    """Return since when each missing key is missing: the recorded time, or now.

    The time of a key that came back is forgotten.
    """
    return {key: known.get(key, now) for key in sorted(missing)}
