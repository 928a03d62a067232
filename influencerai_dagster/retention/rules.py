"""Decide what may be deleted, when and why; pure rules without I/O.

An object is deleted in two steps. First it is deleted in the catalog, which leaves a tombstone; its
bytes are removed when the recovery window has passed since then. So a catalog that is restored to
any time within the window finds every object that it names. What no catalog ever named (segments of
a video that has ended) is removed in one step.
"""

import re
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID

from influencerai_dagster.core.job_states import OUTPUT_FOLDERS
from influencerai_dagster.core.keys import DayKey, check_part
from influencerai_dagster.core.object_paths import day_of_list
from influencerai_dagster.core.recovery_window import SAFETY_MARGIN, is_past_window
from influencerai_dagster.errors import PermanentError

GRACE = timedelta(days=1)
"""A job may have ended before its last object is recorded."""

_OUTPUT = re.compile(r"output(-\d+)?\.[a-z0-9]+", re.ASCII)
_SEGMENT = re.compile(r"segment-\d+(-\d+)?\.[a-z0-9]+", re.ASCII)
_FOLDER_PARTS = 4


class RetentionAction(StrEnum):
    """What retention does with an object."""

    KEEP = "keep"
    DELETE = "delete"
    """Delete it in the catalog now; its bytes stay until the recovery window has passed."""
    WAIT = "wait"
    """Deleted in the catalog already; its bytes stay until the recovery window has passed."""
    REMOVE = "remove"
    """Remove its bytes now."""


@dataclass(frozen=True)
class Decision:
    """What retention does with an object, and why.

    Attributes:
        due: when its bytes may be removed, where that is context.
        is_on_hold: a legal hold keeps it.
    """

    action: RetentionAction
    reason: str
    due: datetime | None = None
    is_on_hold: bool = False


@dataclass(frozen=True)
class TenantRetention:
    """How long a tenant keeps its images and videos; on legal hold nothing of it is deleted."""

    days: int
    is_on_hold: bool = False


@dataclass(frozen=True)
class JobOutputFacts:
    """What the catalog knows of a job whose folder has the object.

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
    """Parse the key of a file in a job's folder; None for every other key."""
    parts = object_key.split("/")
    if len(parts) != _FOLDER_PARTS or parts[0] not in OUTPUT_FOLDERS:
        return None
    try:
        return FolderFile(check_part(parts[1], "tenant"), UUID(parts[2]), parts[3])
    except (PermanentError, ValueError):
        return None


@dataclass(frozen=True)
class DayPartitions:
    """The days that have a partition in Dagster, whose lists of outputs may be loaded.

    Attributes:
        kept: their partition stays, or they have objects or open jobs.
        ending: their partition is removed by the run that decides now.
    """

    kept: Set[DayKey]
    ending: Set[DayKey] = frozenset()


@dataclass(frozen=True)
class RetentionContext:
    """The facts that decisions are made from.

    Attributes:
        tenants: all tenants of the catalog.
        recovery_window: how far back a restore reaches.
        now: UTC.
        days: partitions of Dagster; None keeps every list of a day.
        jobs: of the tenant whose objects are decided on.
        tombstones: key → when it was deleted in the catalog, of the same tenant.
    """

    tenants: Mapping[str, TenantRetention]
    recovery_window: timedelta
    now: datetime
    days: DayPartitions | None = None
    jobs: Mapping[UUID, JobOutputFacts] = field(default_factory=dict)
    tombstones: Mapping[str, datetime] = field(default_factory=dict)

    def is_over(self, since: datetime, days: int) -> bool:
        """Whether so many days have passed."""
        return since + timedelta(days=days) < self.now

    def deletion(self, reason: str) -> Decision:
        """Return the decision to delete an object now."""
        return Decision(
            RetentionAction.DELETE, reason, self.now + self.recovery_window + SAFETY_MARGIN
        )


def _keep(reason: str, *, is_on_hold: bool = False) -> Decision:
    return Decision(RetentionAction.KEEP, reason, is_on_hold=is_on_hold)


def decide(object_key: str, last_modified: datetime, context: RetentionContext) -> Decision:
    """Decide on one object of the bucket."""
    day = day_of_list(object_key)
    if day is not None:
        return _decide_list(day, context.tombstones.get(object_key), context)
    file = folder_file(object_key)
    if file is None:
        return _keep("exempt: made by no job, like samples of a LoRA")
    return _decide_file(file, context.tombstones.get(object_key), last_modified, context)


def _decide_file(
    file: FolderFile, tombstone: datetime | None, last_modified: datetime, context: RetentionContext
) -> Decision:
    tenant, job = context.tenants.get(file.tenant), context.jobs.get(file.job_id)
    if tenant is None:
        return _keep("its tenant is not in the catalog")
    if tenant.is_on_hold or (job is not None and job.is_on_hold):
        return _keep("legal hold", is_on_hold=True)
    if job is not None and job.finished_at is None:
        return _keep("its job is not over")
    deleted_at = _deleted_at(file, job, tombstone)
    if deleted_at is not None:
        return _decide_deleted(deleted_at, context)
    return _decide_existing(file, tenant, job, last_modified, context)


def _deleted_at(
    file: FolderFile, job: JobOutputFacts | None, tombstone: datetime | None
) -> datetime | None:
    """Return when a file was deleted in the catalog; None if it was not, or is named again."""
    if job is None or file.stem != job.stem:
        return tombstone
    return job.deleted_at  # None for an output that is named again, whatever its tombstone says


def _decide_deleted(deleted_at: datetime, context: RetentionContext) -> Decision:
    due = deleted_at + context.recovery_window + SAFETY_MARGIN
    if is_past_window(deleted_at, context.recovery_window, context.now):
        return Decision(
            RetentionAction.REMOVE, "the recovery window has passed since it was deleted", due
        )
    return Decision(RetentionAction.WAIT, "deleted; a restore may still ask for it", due)


def _decide_existing(
    file: FolderFile,
    tenant: TenantRetention,
    job: JobOutputFacts | None,
    last_modified: datetime,
    context: RetentionContext,
) -> Decision:
    """Decide on a file that was not deleted yet; its job, if there is one, has ended."""
    if job is None:
        if context.is_over(last_modified, tenant.days):
            return context.deletion("no job names it")
        return _keep(f"no job names it, but it is younger than {tenant.days} days")
    if file.stem == job.stem and job.made_at is not None:
        if context.is_over(job.made_at, tenant.days) and not job.is_needed:
            return context.deletion(f"older than {tenant.days} days")
        kept = "a video that is not over starts from it" if job.is_needed else None
        return _keep(kept or f"younger than {tenant.days} days")
    return _decide_leftover(file, max(last_modified, job.finished_at or last_modified), context)


def _decide_leftover(file: FolderFile, ended_at: datetime, context: RetentionContext) -> Decision:
    """Decide on a file of a job that has ended, and that is not of its output."""
    if ended_at + GRACE >= context.now:
        return _keep("its job has just ended")
    if file.is_segment:
        return Decision(RetentionAction.REMOVE, "segment of a video that has ended", context.now)
    if file.is_output:
        return context.deletion("of a claim that never completed")
    return _keep("unknown kind of file")


def _decide_list(day: DayKey, tombstone: datetime | None, context: RetentionContext) -> Decision:
    """Decide on a list of a day's outputs: it is deleted after the partition of its day."""
    tenant = context.tenants.get(day.tenant)
    if tenant is None:
        return _keep("its tenant is not in the catalog")
    if tenant.is_on_hold:
        return _keep("legal hold", is_on_hold=True)
    if context.days is None:
        return _keep("list of a day: the daily run looks at the day's partition")
    if day in context.days.kept or not is_day_over(day.day, tenant, context.now):
        return _keep("list of a day that is there")
    if tombstone is None or day in context.days.ending:  # an older tombstone does not count
        return context.deletion("list of a day whose partition is gone")
    return _decide_deleted(tombstone, context)


def is_day_over(day: date, tenant: TenantRetention | None, now: datetime) -> bool:
    """Whether the partition of a day without objects may be removed."""
    if tenant is None or tenant.is_on_hold:
        return False
    end = datetime.combine(day + timedelta(days=1), time(), tzinfo=UTC)
    return end + timedelta(days=tenant.days) < now
