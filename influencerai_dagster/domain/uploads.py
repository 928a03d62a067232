"""When a dataset whose uploads changed is ready to be scanned. Listing it lives in sensors/."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from influencerai_dagster.domain.keys import DatasetKey


@dataclass(frozen=True)
class UploadState:
    """What one listing of a dataset's uploads says.

    Attributes:
        fingerprint: content hash of names, sizes and ETags.
        changed_at: when the newest upload was written.
    """

    fingerprint: str
    changed_at: datetime


@dataclass(frozen=True)
class UploadDecision:
    """What a tick does: datasets to scan, and those still being uploaded."""

    ready: dict[DatasetKey, str]
    settling: tuple[DatasetKey, ...]


def decide(
    listed: Mapping[DatasetKey, UploadState],
    seen: Mapping[str, str],
    *,
    now: datetime,
    settle_seconds: float,
) -> UploadDecision:
    """Choose the datasets whose uploads changed and then were quiet for `settle_seconds`.

    Args:
        listed: the current uploads of every dataset.
        seen: fingerprint of the uploads that were last asked to be scanned, by partition key.

    Returns:
        Datasets to scan with their fingerprints, and those that changed but are not yet quiet.
    """
    changed = {
        key: state for key, state in listed.items() if seen.get(str(key)) != state.fingerprint
    }
    settling = tuple(
        key
        for key, state in changed.items()
        if (now - state.changed_at).total_seconds() < settle_seconds
    )
    unquiet = set(settling)
    ready = {key: state.fingerprint for key, state in changed.items() if key not in unquiet}
    return UploadDecision(ready, settling)


def share_out(
    ready: Iterable[DatasetKey], num_alive: Mapping[str, int], *, max_alive: int
) -> list[DatasetKey]:
    """Choose the datasets that get a run now, so that tenants share the runs equally.

    Args:
        ready: in the order in which each tenant's own should be built.
        num_alive: tenant → its runs that are queued or in progress.
        max_alive: runs of all tenants together; a short queue lets a new tenant in soon.
    """
    num_runs = Counter(num_alive)
    places = []
    for key in ready:
        places.append((num_runs[key.tenant], key))
        num_runs[key.tenant] += 1
    places.sort(key=lambda place: place[0])
    return [key for _, key in places[: max(max_alive - sum(num_alive.values()), 0)]]
