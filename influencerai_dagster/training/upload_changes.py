"""Decide when a dataset whose uploads changed is scanned, and which datasets get a run now.

The quiet time of uploads is measured by our own clock, from the tick that first saw them as they
are: `last_modified` comes from the clock of S3, or of a camera. The upload sensor lists them.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.object_paths import dataset_key_of
from influencerai_dagster.storage.contents import ObjectSummary

LONGEST_PAUSE_SECONDS = 30.0
_SHORTEST_PAUSE_SECONDS = 5.0  # a tick of the sensor
_SHARE_OF_QUIET_TIME = 0.1
_FINGERPRINT_DIGITS = 16


class Sighting(NamedTuple):
    """Uploads that are not scanned yet, and since when (Unix time) they are unchanged."""

    fingerprint: str
    since: float


@dataclass(frozen=True)
class UploadDecision:
    """Datasets to scan, and those that are still being uploaded.

    Attributes:
        ready: fingerprint of the uploads, by dataset.
        settling: datasets that changed but are not yet quiet.
        sightings: every changed dataset by partition key, for the next tick.
    """

    ready: dict[DatasetKey, str]
    settling: tuple[DatasetKey, ...]
    sightings: dict[str, Sighting]


def uploads_by_dataset(infos: Iterable[ObjectSummary]) -> dict[DatasetKey, list[ObjectSummary]]:
    """Group a listing by dataset; objects that are not uploads of a valid dataset are left out."""
    groups: dict[DatasetKey, list[ObjectSummary]] = {}
    for info in infos:
        key = dataset_key_of(info.key)
        if key is not None:
            groups.setdefault(key, []).append(info)
    return groups


def uploads_fingerprint(infos: Iterable[ObjectSummary]) -> str:
    """Return the hash of a listing; it changes when an upload comes, goes or is replaced."""
    found = fingerprint(sorted([info.key, info.size_bytes, info.etag] for info in infos))
    return found[:_FINGERPRINT_DIGITS]


def seconds_to_next_listing(now: float, *, listed_at: float, changed_at: float) -> float:
    """Return how long to wait before uploads are listed again; at most 0 if it is time.

    A bucket in which nothing happens is listed less often: a change is noticed after a tenth of the
    time since the last one, but after half a minute at the latest.

    Args:
        now: seconds of Unix time, as the others. A clock that was set back ends the wait.
        listed_at: when uploads were last listed.
        changed_at: when they last changed, or had no run yet.
    """
    pause = min((now - changed_at) * _SHARE_OF_QUIET_TIME, LONGEST_PAUSE_SECONDS)
    if now < listed_at or pause < _SHORTEST_PAUSE_SECONDS:
        return 0.0
    return listed_at + pause - now


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
        now: seconds of Unix time. A clock that was set back begins the quiet time again.
    """
    ready: dict[DatasetKey, str] = {}
    settling: list[DatasetKey] = []
    changed: dict[str, Sighting] = {}
    for key, found in listed.items():
        if seen.get(str(key)) == found:
            continue
        earlier = sightings.get(str(key))
        is_known = earlier is not None and earlier.fingerprint == found
        since = min(earlier.since, now) if earlier is not None and is_known else now
        changed[str(key)] = Sighting(found, since)
        if now - since >= settle_seconds:
            ready[key] = found
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
    ranked = []
    for key in ready:
        ranked.append((num_runs[key.tenant], key))
        num_runs[key.tenant] += 1
    ranked.sort(key=lambda item: item[0])
    return [key for _, key in ranked[: max(max_alive - sum(num_alive.values()), 0)]]
