"""List the objects that a catalog names, and count its rows; also fence its open jobs.

The objects are compared in verification.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Select, func, literal, null, select, union_all, update
from sqlalchemy.orm import Session

from influencerai_dagster.core.job_states import OPEN_STATUSES
from influencerai_dagster.db.models.content import CatalogModel, DatasetRow, LoraRow
from influencerai_dagster.db.models.jobs import JobRow, MediaAssetRow

_ROWS_AT_ONCE = 1000
_TOKENS_AHEAD = 1000


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object that a row of the catalog names.

    Attributes:
        table: with the row that names it.
        object_key: its key in the bucket of assets.
        sha256: its hash; None for a manifest: the catalog has only its key.
        size_bytes: its size; None for a manifest.
        version: of a dataset's manifest, the version that its content must have.
    """

    table: str
    object_key: str
    sha256: str | None
    size_bytes: int | None
    version: str | None = None


def named_objects(session: Session) -> Iterator[NamedObject]:
    """Yield every object that the catalog names, without those that retention has deleted.

    A manifest comes beside the file that it describes. Rows are streamed, in order of key.
    """
    kept = MediaAssetRow.deleted_at.is_(None)
    named = union_all(
        _files(MediaAssetRow.__tablename__, MediaAssetRow).where(kept),
        _manifests(MediaAssetRow.__tablename__, MediaAssetRow).where(kept),
        _files(LoraRow.__tablename__, LoraRow),
        _manifests(LoraRow.__tablename__, LoraRow),
        select(
            literal(DatasetRow.__tablename__),
            DatasetRow.manifest_key.label("object_key"),
            null(),
            null(),
            DatasetRow.version,
        ),
    ).subquery()
    statement = (
        select(named).order_by(named.c.object_key).execution_options(yield_per=_ROWS_AT_ONCE)
    )
    for row in session.execute(statement):
        yield NamedObject(*row)


def fence_open_jobs(session: Session) -> int:
    """Raise the lease token of every open job of a restored catalog, and return their number.

    After the target time, workers may have written outputs under the tokens that come next. Objects
    are written once, so the jobs need tokens that no worker had.
    """
    is_open = JobRow.status.in_(OPEN_STATUSES)
    statement = update(JobRow).where(is_open).values(lease_token=JobRow.lease_token + _TOKENS_AHEAD)
    return len(session.scalars(statement.returning(JobRow.id)).all())


def row_counts(session: Session) -> Mapping[str, int]:
    """Count the rows of every table of the catalog; each row is read."""
    return {
        table.name: session.execute(select(func.count()).select_from(table)).scalar_one()
        for table in CatalogModel.metadata.sorted_tables
    }


def _files(
    table: str, row: type[MediaAssetRow] | type[LoraRow]
) -> Select[tuple[str, str, str, int, None]]:
    key = row.weights_key if issubclass(row, LoraRow) else row.object_key
    return select(literal(table), key.label("object_key"), row.sha256, row.size_bytes, null())


def _manifests(
    table: str, row: type[MediaAssetRow] | type[LoraRow]
) -> Select[tuple[str, str, None, None, None]]:
    return select(literal(table), row.manifest_key.label("object_key"), null(), null(), null())


def named_bytes(session: Session) -> int:
    """Return the size of all files that the catalog names, without manifests."""
    sizes = union_all(
        select(MediaAssetRow.size_bytes).where(MediaAssetRow.deleted_at.is_(None)),
        select(LoraRow.size_bytes),
    ).subquery()
    return int(session.execute(select(func.coalesce(func.sum(sizes.c.size_bytes), 0))).scalar_one())
