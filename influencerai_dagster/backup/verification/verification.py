"""Is what was restored whole? Newest migration, every row readable, every object by its hash.

Nothing here knows how it was restored. A problem is a text that names what is broken; a warning is
what may be as it should: uploads belong to the tenant, who may have replaced or removed one.
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
from influencerai_dagster.db import migrate
from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.storage.parallel import map_in_threads

_WORKERS = 8
_SHOWN = 50
_READ_ROWS = text("SET LOCAL enable_indexonlyscan = off")
"""Else PostgreSQL counts the rows of a vacuumed table by an index, and reads none of them."""
_DAGSTER_TABLES = ("runs", "event_logs", "kvs", "instance_info")


@dataclass
class Verification:
    """What was found.

    Attributes:
        rows: number of rows by table; Dagster's tables are named `dagster.<table>`.
        num_objects: that the catalog names, by row or by the manifest of a dataset.
        size_bytes: of those that were read.
        problems: what is broken.
        warnings: what differs and may be meant so.
        migrated_from: the revision that the catalog was restored with, if it was not the newest.
    """

    rows: dict[str, int] = field(default_factory=dict)
    num_objects: int = 0
    size_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    migrated_from: str | None = None

    @property
    def is_sound(self) -> bool:
        """Whether nothing is broken."""
        return not self.problems

    @property
    def num_rows(self) -> int:
        """Rows of all tables."""
        return sum(self.rows.values())


def verify_databases(catalog_url: str, dagster_url: str) -> Verification:
    """Bring the restored catalog to the newest migration and read every row of both databases.

    A backup of last week may be older than the newest migration: what it takes to work with it
    again is part of the proof. Reading a page compares its checksum.

    Raises:
        TransientError: PostgreSQL is away.
        PermanentError: the catalog was migrated by a newer release than this one.
    """
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
    mend: Callable[[list[NamedObject]], None] = lambda _: None,
) -> None:
    """Read every object that the catalog names, and compare its bytes with what is known of it.

    Args:
        found: is added to.
        engine: of the restored catalog.
        contents: where the objects are.
        on_progress: called with the number of objects that were read, every 100.
        mend: called with those that are there and wrong, which are then read once more.
    """
    with transaction(engine) as session:
        named = list(named_objects(session))
    wrong: list[NamedObject] = []
    for item, digest in map_in_threads(
        lambda item: (item, contents.digest(item.object_key)), named, max_workers=_WORKERS
    ):
        if digest is not None and _problem(item, digest, contents) is not None:
            wrong.append(item)
            continue
        _note(found, item, digest, contents)
        if found.num_objects % 100 == 0:
            on_progress(found.num_objects)
    if wrong:
        mend(wrong)
    for item in wrong:
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
    """Plain SQL: nothing here knows Dagster, and it is down while its storage is restored."""
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
    """Say why bytes are not the manifest of a version of a dataset; None if they are."""
    try:
        manifest = DatasetManifest.model_validate_json(data)
    except ValidationError as error:
        return f"is no manifest of a dataset: {error.errors()[0]['msg']}"
    if fingerprint(manifest.model_dump(mode="json", exclude={"version"})) != version:
        return f"is not of version {version}: its content has changed"
    return None


def _problem(item: NamedObject, digest: Digest, contents: Contents) -> str | None:
    """Say what of an object differs from what the catalog knows of it; None if nothing does."""
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
