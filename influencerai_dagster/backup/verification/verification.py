"""Verify restored databases and objects: migration, every row, every object by its hash.

It does not know how they were restored. A problem names what is broken. A warning names what may be
right: uploads belong to the tenant, who may have replaced or removed one.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import psycopg2
from pydantic import ValidationError
from sqlalchemy import Engine, text

from influencerai_dagster.backup.verification.catalog_objects import (
    NamedObject,
    named_objects,
    row_counts,
)
from influencerai_dagster.backup.verification.contents import Contents, Digest
from influencerai_dagster.core.database_urls import database_name
from influencerai_dagster.core.fingerprints import fingerprint
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.parallel import map_in_threads

_WORKERS = 8
_SHOWN = 50
_READ_ROWS = text("SET LOCAL enable_indexonlyscan = off")
"""Without it PostgreSQL counts the rows of a vacuumed table by an index, and reads none."""
_DAGSTER_TABLES = ("runs", "event_logs", "kvs", "instance_info")


@dataclass
class Verification:
    """The findings of a verification.

    Attributes:
        rows: number of rows by table; Dagster's tables are named `dagster.<table>`.
        num_objects: named by a row of the catalog, or by the manifest of a dataset.
        size_bytes: of the objects that were read.
        problems: what is broken.
        warnings: what differs and may be right.
        migrated_from: revision of the restored catalog, if it was not the newest.
    """

    rows: dict[str, int] = field(default_factory=dict)
    num_objects: int = 0
    size_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    migrated_from: str | None = None

    @property
    def is_valid(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    @property
    def num_rows(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def verify_databases(catalog_url: str, dagster_url: str) -> Verification:
    """Bring the restored catalog to the newest migration and read every row of both databases.

    A backup may be older than the newest migration, so migrating is part of the verification.
    Reading a page compares its checksum.

    Raises:
        TransientError: PostgreSQL is away.
        PermanentError: the catalog was migrated by a newer release than this one.
    """
    from influencerai_dagster.db import migrate  # noqa: PLC0415 - imports Alembic

    found = Verification()
    revision, head = migrate.current_revision(catalog_url), migrate.head_revision()
    if revision is None:
        found.problems.append(f"{_shown(catalog_url)} has no catalog: it was never migrated")
        return found
    if revision != head:
        migrate.upgrade(catalog_url)
        found.migrated_from = revision
    _try(found, f"the catalog ({_shown(catalog_url)})", lambda: _count_catalog(found, catalog_url))
    _try(
        found,
        f"Dagster's storage ({_shown(dagster_url)})",
        lambda: _count_dagster(found, dagster_url),
    )
    return found


def verify_objects(
    found: Verification,
    engine: Engine,
    contents: Contents,
    *,
    on_progress: Callable[[int], None],
    repair: Callable[[list[NamedObject]], None] = lambda _: None,
) -> None:
    """Read every object that the catalog names, and compare it with its row.

    Args:
        found: gets the findings.
        engine: of the restored catalog.
        contents: where the objects are.
        on_progress: called with the number of objects that were read, every 100.
        repair: called with the corrupt objects, which are then read once more.
    """
    with transaction(engine) as session:
        named = list(named_objects(session))
    corrupt: list[NamedObject] = []
    for item, digest in map_in_threads(
        lambda item: (item, contents.digest(item.object_key)), named, max_workers=_WORKERS
    ):
        if digest is not None and _problem(item, digest, contents) is not None:
            corrupt.append(item)
            continue
        _note(found, item, digest, contents)
        if found.num_objects % 100 == 0:
            on_progress(found.num_objects)
    if corrupt:
        repair(corrupt)
    for item in corrupt:
        _note(found, item, contents.digest(item.object_key), contents)
    on_progress(found.num_objects)


def shown_problems(problems: list[str]) -> str:
    """Return the first problems as one text."""
    more = len(problems) - _SHOWN
    return "\n".join([*problems[:_SHOWN], *([f"and {more} more"] if more > 0 else [])])


def _count_catalog(found: Verification, url: str) -> None:
    engine = create_catalog_engine(url)
    try:
        with transaction(engine) as session:
            session.execute(_READ_ROWS)
            found.rows |= row_counts(session)
    finally:
        engine.dispose()


def _count_dagster(found: Verification, url: str) -> None:
    """Count by plain SQL: Dagster is not imported here, and is down during a restore."""
    engine = create_catalog_engine(url)
    try:
        with transaction(engine) as session:
            session.execute(_READ_ROWS)
            for table in _DAGSTER_TABLES:
                count = text(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
                found.rows[f"dagster.{table}"] = session.execute(count).scalar_one()
            revision = session.execute(text("SELECT version_num FROM alembic_version")).scalar()
            if revision is None:
                found.problems.append("Dagster's storage has no revision: it was never set up")
    finally:
        engine.dispose()


def _try(found: Verification, what: str, action: Callable[[], None]) -> None:
    try:
        action()
    except (PermanentError, psycopg2.Error) as error:
        found.problems.append(f"{what} cannot be read: {error}")


def manifest_problem(data: bytes, version: str) -> str | None:
    """Return why bytes are not the manifest of a dataset's version; None if they are."""
    try:
        manifest = DatasetManifest.model_validate_json(data)
    except ValidationError as error:
        return f"is not a manifest of a dataset: {error.errors()[0]['msg']}"
    if fingerprint(manifest.model_dump(mode="json", exclude={"version"})) != version:
        return f"is not of version {version}: its content has changed"
    return None


def _problem(item: NamedObject, digest: Digest, contents: Contents) -> str | None:
    """Return how an object differs from its row in the catalog; None if it does not."""
    if item.size_bytes not in {None, digest.size_bytes}:
        return f"has {digest.size_bytes} bytes, the catalog says {item.size_bytes}"
    if item.sha256 not in {None, digest.sha256}:
        return f"has SHA-256 {digest.sha256}, the catalog says {item.sha256}"
    if item.version is not None:
        return manifest_problem(contents.read(item.object_key), item.version)
    return None


def _note(
    found: Verification, item: NamedObject, digest: Digest | None, contents: Contents
) -> None:
    found.num_objects += 1
    name = f"object {item.object_key} of {item.table}"
    if digest is None:
        found.problems.append(f"{name} is missing")
        return
    found.size_bytes += digest.size_bytes
    problem = _problem(item, digest, contents)
    if problem is not None:
        found.problems.append(f"{name} {problem}")
    elif item.version is not None:
        _verify_uploads(found, contents.read(item.object_key), contents)


def _verify_uploads(found: Verification, manifest_json: bytes, contents: Contents) -> None:
    """Compare the images of a dataset with its manifest."""
    manifest = DatasetManifest.model_validate_json(manifest_json)
    digests = map_in_threads(
        lambda image: contents.digest(image.object_key), manifest.images, max_workers=_WORKERS
    )
    for image, digest in zip(manifest.images, digests, strict=True):
        found.num_objects += 1
        if digest is None:
            found.warnings.append(f"upload {image.object_key} is missing")
            continue
        found.size_bytes += digest.size_bytes
        if digest.sha256 != image.sha256:
            found.warnings.append(
                f"upload {image.object_key} was replaced after its dataset's scan"
            )


def _shown(url: str) -> str:
    return f"database {database_name(url)}"
