"""Copy missing objects back to the bucket of assets in a restore, and repair corrupt ones."""

from collections.abc import Callable
from dataclasses import dataclass

from influencerai_dagster.backup.objects.locations import BackupTarget, Location
from influencerai_dagster.backup.objects.missing import ObjectRestoreReport, restore_objects
from influencerai_dagster.backup.verification.catalog_objects import NamedObject
from influencerai_dagster.backup.verification.contents import BucketContents
from influencerai_dagster.backup.verification.object_repair import repair_objects
from influencerai_dagster.backup.verification.verification import Verification, verify_objects
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.storage.object_store import ObjectStore

Log = Callable[[str], None]


@dataclass(frozen=True)
class Assets:
    """The bucket of assets and its backup.

    Attributes:
        store: reads the bucket.
        location: the same bucket for rclone.
        backup: None copies no object back; the objects in the bucket are still verified.
    """

    store: ObjectStore
    location: Location
    backup: BackupTarget | None

    def copy_back(self, log: Log) -> ObjectRestoreReport:
        """Copy missing objects from the backup."""
        if self.backup is None:
            return ObjectRestoreReport()
        return restore_objects(
            self.backup,
            self.location,
            None,
            on_progress=lambda now: log(
                f"{now.num_copied} objects, {now.copied_bytes / 1000**2:.0f} MB copied"
            ),
        )

    def verify(self, catalog_url: str, found: Verification, log: Log) -> None:
        """Compare every object that a restored catalog names, and repair corrupt ones.

        Args:
            catalog_url: of the restored one.
            found: is added to.
            log: gets lines about the progress.
        """

        def repair(corrupt: list[NamedObject]) -> None:
            if self.backup is None:
                return
            log(f"repairing {len(corrupt)} corrupt objects: they differ from the catalog")
            report = repair_objects(self.backup, self.location, corrupt)
            found.warnings += [
                f"object {key} was corrupt and was repaired from the backup; its corrupt bytes are "
                f"in {report.kept_in}/{key}"
                for key in report.repaired
            ]

        engine = create_catalog_engine(catalog_url)
        try:
            verify_objects(
                found,
                engine,
                BucketContents(self.store),
                on_progress=lambda number: log(f"{number} objects compared"),
                repair=repair,
            )
        finally:
            engine.dispose()
