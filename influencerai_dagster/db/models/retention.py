"""Define the tables of deleted objects, and of pauses while the store is full.

The rules that decide are in retention/rules.py; days and holds are columns in content.py and
jobs.py.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from influencerai_dagster.db.models.content import NOW, CatalogModel, own_object


class ObjectDeletionRow(CatalogModel):
    """An object without a row that names it; its bytes are deleted after the recovery window.

    Attributes:
        job_id: in whose folder it is; the job may be unknown. None for a list of a day.
        removed_at: when the bytes were deleted; None while they exist.
    """

    __tablename__ = "object_deletions"
    __table_args__ = (
        own_object("object_key"),
        Index(
            "ix_object_deletions_waiting",
            *("tenant_id", "marked_at"),
            postgresql_where=text("removed_at IS NULL"),
        ),
    )

    object_key: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[str] = mapped_column(ForeignKey("tenants.id"))
    job_id: Mapped[UUID | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    marked_at: Mapped[datetime] = mapped_column(server_default=NOW)
    removed_at: Mapped[datetime | None]


class StoragePauseRow(CatalogModel):
    """A store that is full: no job is claimed until there is space again.

    Attributes:
        error: of the upload that failed last.
        reported_at: when that was.
        probed_at: when a worker or the sensor last probed for space.
    """

    __tablename__ = "storage_pauses"

    bucket: Mapped[str] = mapped_column(primary_key=True)
    error: Mapped[str]
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    reported_at: Mapped[datetime] = mapped_column(server_default=NOW)
    probed_at: Mapped[datetime] = mapped_column(server_default=NOW)
