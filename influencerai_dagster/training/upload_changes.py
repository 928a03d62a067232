"""When a dataset whose uploads changed is ready to be scanned. Listing it lives in sensors/.

How long uploads were quiet is told by our own clock from the tick that first saw them as they are:
what S3 says of when they were written comes from its clock, or from a camera's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from influencerai_dagster.core.keys import DatasetKey


class Sighting(NamedTuple):
    """Uploads that are not scanned yet, and when (seconds of Unix time) they were first so."""

    fingerprint: str
    since: float


@dataclass(frozen=True)
class UploadDecision:
    """What a tick does: datasets to scan, and those still being uploaded.

    Attributes:
        ready: fingerprint of the uploads, by dataset.
        settling: datasets that changed but are not yet quiet.
        sightings: every changed dataset by partition key, for the next tick.
    """

    ready: dict[DatasetKey, str]
    settling: tuple[DatasetKey, ...]
    sightings: dict[str, Sighting]


def decide(
    listed: Mapping[DatasetKey, str],
    seen: Mapping[str, str],
    sightings: Mapping[str, Sighting],
    *,
    now: float,
    settle_seconds: float,
) -> UploadDecision:
    """Choose the datasets whose uploads changed and then were quiet for `settle_seconds`.

    Args:
        listed: content hash of names, sizes and ETags of the current uploads, by dataset.
        seen: fingerprint of the uploads that were last asked to be scanned, by partition key.
        sightings: what the tick before returned.
        now: seconds of Unix time. A clock that was set back begins the quiet time anew.
    """
    ready: dict[DatasetKey, str] = {}
    settling: list[DatasetKey] = []
    changed: dict[str, Sighting] = {}
    for key, fingerprint in listed.items():
        if seen.get(str(key)) == fingerprint:
            continue
        earlier = sightings.get(str(key))
        is_known = earlier is not None and earlier.fingerprint == fingerprint
        since = min(earlier.since, now) if earlier is not None and is_known else now
        changed[str(key)] = Sighting(fingerprint, since)
        if now - since >= settle_seconds:
            ready[key] = fingerprint
        else:
            settling.append(key)
    return UploadDecision(ready, tuple(settling), changed)


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
