"""The tables of what goes: objects that retention deleted, and pauses while the store is full.

The rules that decide are in retention/rules.py; days and holds are columns in content.py and
jobs.py.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from influencerai_dagster.db.models.content import NOW, CatalogModel, own_object


class ObjectDeletionRow(CatalogModel):
    """An object that nothing names any more; its bytes go when the recovery window has passed.

    Attributes:
        job_id: in whose folder it is; the job may be unknown. None for a list of a day.
        removed_at: when the bytes went; None while they are there.
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
        probed_at: when somebody last tried whether there is space.
    """

    __tablename__ = "storage_pauses"

    bucket: Mapped[str] = mapped_column(primary_key=True)
    error: Mapped[str]
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    reported_at: Mapped[datetime] = mapped_column(server_default=NOW)
    probed_at: Mapped[datetime] = mapped_column(server_default=NOW)
