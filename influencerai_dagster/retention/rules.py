"""What may be deleted, when and why; pure rules without I/O.

An object goes in two steps. First it is deleted in the catalog; its bytes go when the recovery
window has passed since then, so that a catalog restored to any moment within it finds every object
that it names. What no catalog ever named (segments of a video that has ended) goes in one step.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID

from influencerai_dagster.core.keys import DayKey, check_part
from influencerai_dagster.core.object_paths import day_of_list
from influencerai_dagster.core.recovery_window import (
    SAFETY_MARGIN,
    is_past_window,
)
from influencerai_dagster.errors import PermanentError

GRACE = timedelta(days=1)
"""An object of a job that has ended may still be on its way to its record."""

_OUTPUT = re.compile(r"output(-\d+)?\.[a-z0-9]+", re.ASCII)
_SEGMENT = re.compile(r"segment-\d+(-\d+)?\.[a-z0-9]+", re.ASCII)
_FOLDER_PARTS = 4


class Fate(StrEnum):
    """What becomes of an object."""

    KEEP = "keep"
    DELETE = "delete"
    """Deleted in the catalog now; its bytes stay until the recovery window has passed."""
    WAIT = "wait"
    """Deleted in the catalog already; its bytes stay until the recovery window has passed."""
    REMOVE = "remove"
    """Its bytes go now."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of an object and why; `due` is when its bytes may go, where that is known."""

    fate: Fate
    reason: str
    due: datetime | None = None


@dataclass(frozen=True)
class TenantRetention:
    """How long a tenant keeps its images and videos; on legal hold nothing of it is deleted."""

    days: int
    is_on_hold: bool = False


@dataclass(frozen=True)
class JobFacts:
    """What the catalog says of a job whose folder is looked at.

    Attributes:
        finished_at: None while the job is open.
        stem: what the files of its output begin with, "output-2"; None if it has no output.
        made_at: when the output was recorded.
        deleted_at: when the output was deleted in the catalog.
        is_on_hold: legal hold of the output.
        is_needed: a video that is not over starts from it.
    """

    finished_at: datetime | None
    stem: str | None = None
    made_at: datetime | None = None
    deleted_at: datetime | None = None
    is_on_hold: bool = False
    is_needed: bool = False


@dataclass(frozen=True)
class FolderFile:
    """A file in the folder of a job: `images|videos/<tenant>/<jobId>/<name>`."""

    tenant: str
    job_id: UUID
    name: str

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return self.name.rpartition(".")[0]

    @property
    def is_segment(self) -> bool:
        """Whether it is one of the parts that a long video is made of."""
        return _SEGMENT.fullmatch(self.name) is not None

    @property
    def is_output(self) -> bool:
        """Whether some claim of the job wrote it as its output."""
        return _OUTPUT.fullmatch(self.name) is not None


def folder_file(object_key: str) -> FolderFile | None:
    """Return what a key in a job's folder says, None for all else; of that only lists ever go."""
    parts = object_key.split("/")
    if len(parts) != _FOLDER_PARTS or parts[0] not in {"images", "videos"}:
        return None
    try:
        return FolderFile(check_part(parts[1], "tenant"), UUID(parts[2]), parts[3])
    except (PermanentError, ValueError):
        return None


@dataclass(frozen=True)
class DayPartitions:
    """The days whose lists of outputs something may still ask for.

    Attributes:
        kept: their partition stays, or they have objects or open jobs.
        ending: their partition goes together with what is decided now.
    """

    kept: Set[DayKey]
    ending: Set[DayKey] = frozenset()


@dataclass(frozen=True)
class Knowledge:
    """What a decision is made on.

    Attributes:
        tenants: those of the catalog.
        jobs: of the tenant whose objects are looked at.
        marks: keys that were deleted in the catalog before → when.
        recovery_window: how far back a restore reaches.
        now: UTC.
        days: None where nobody asked Dagster: every list of a day is kept.
    """

    tenants: Mapping[str, TenantRetention]
    jobs: Mapping[UUID, JobFacts]
    marks: Mapping[str, datetime]
    recovery_window: timedelta
    now: datetime
    days: DayPartitions | None = None

    def is_over(self, since: datetime, days: int) -> bool:
        """Tell whether so many days have passed."""
        return since + timedelta(days=days) < self.now

    def deletion(self, reason: str) -> Verdict:
        """Return the verdict that an object is deleted now."""
        return Verdict(Fate.DELETE, reason, self.now + self.recovery_window + SAFETY_MARGIN)


def judge(object_key: str, last_modified: datetime, known: Knowledge) -> Verdict:
    """Decide on one object of the bucket."""
    day = day_of_list(object_key)
    if day is not None:
        return _judge_list(day, known.marks.get(object_key), known)
    file = folder_file(object_key)
    if file is None:
        return Verdict(Fate.KEEP, "exempt: made by no job, like samples of a LoRA")
    return _judge_file(file, known.marks.get(object_key), last_modified, known)


def _judge_file(
    file: FolderFile, mark: datetime | None, last_modified: datetime, known: Knowledge
) -> Verdict:
    tenant, job = known.tenants.get(file.tenant), known.jobs.get(file.job_id)
    if tenant is None:
        return Verdict(Fate.KEEP, "its tenant is not in the catalog")
    if tenant.is_on_hold or (job is not None and job.is_on_hold):
        return Verdict(Fate.KEEP, "legal hold")
    if job is not None and job.finished_at is None:
        return Verdict(Fate.KEEP, "its job is not over")
    gone_at = _gone_at(file, job, mark)
    if gone_at is not None:
        return _judge_gone(gone_at, known)
    return _judge_there(file, tenant, job, last_modified, known)


def _gone_at(file: FolderFile, job: JobFacts | None, mark: datetime | None) -> datetime | None:
    """Return since when nothing names a file; None if something does, or it was never decided."""
    if job is None or file.stem != job.stem:
        return mark
    return job.deleted_at  # an output that is named again is no longer gone, whatever the mark says


def _judge_gone(gone_at: datetime, known: Knowledge) -> Verdict:
    due = gone_at + known.recovery_window + SAFETY_MARGIN
    if is_past_window(gone_at, known.recovery_window, known.now):
        return Verdict(Fate.REMOVE, "the recovery window has passed since it was deleted", due)
    return Verdict(Fate.WAIT, "deleted; a restore may still ask for it", due)


def _judge_there(
    file: FolderFile,
    tenant: TenantRetention,
    job: JobFacts | None,
    last_modified: datetime,
    known: Knowledge,
) -> Verdict:
    """Decide on a file that was not deleted yet; its job, if there is one, has ended."""
    if job is None:
        if known.is_over(last_modified, tenant.days):
            return known.deletion("no job names it")
        return Verdict(Fate.KEEP, f"no job names it, but it is younger than {tenant.days} days")
    if file.stem == job.stem and job.made_at is not None:
        if known.is_over(job.made_at, tenant.days) and not job.is_needed:
            return known.deletion(f"older than {tenant.days} days")
        kept = "a video that is not over starts from it" if job.is_needed else None
        return Verdict(Fate.KEEP, kept or f"younger than {tenant.days} days")
    return _judge_leftover(file, max(last_modified, job.finished_at or last_modified), known)


def _judge_leftover(file: FolderFile, ended_at: datetime, known: Knowledge) -> Verdict:
    """Decide on a file of a job that has ended, and that is not of its output."""
    if ended_at + GRACE >= known.now:
        return Verdict(Fate.KEEP, "its job has just ended")
    if file.is_segment:
        return Verdict(Fate.REMOVE, "segment of a video that has ended", known.now)
    if file.is_output:
        return known.deletion("of a claim that never completed")
    return Verdict(Fate.KEEP, "unknown kind of file")


def _judge_list(day: DayKey, mark: datetime | None, known: Knowledge) -> Verdict:
    """Decide on a list of what a day has; every list of the day goes when its partition went."""
    tenant = known.tenants.get(day.tenant)
    if tenant is None:
        return Verdict(Fate.KEEP, "its tenant is not in the catalog")
    if tenant.is_on_hold:
        return Verdict(Fate.KEEP, "legal hold")
    if known.days is None:
        return Verdict(Fate.KEEP, "list of a day: the daily run looks at the day's partition")
    if day in known.days.kept or not is_day_over(day.day, tenant, known.now):
        return Verdict(Fate.KEEP, "list of a day that is there")
    if mark is None or day in known.days.ending:  # a mark of before that is of no account
        return known.deletion("list of a day whose partition is gone")
    return _judge_gone(mark, known)


def is_day_over(day: date, tenant: TenantRetention | None, now: datetime) -> bool:
    """Tell whether the partition of a day that has no object may go."""
    if tenant is None or tenant.is_on_hold:
        return False
    end = datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)
    return end + timedelta(days=tenant.days) < now
