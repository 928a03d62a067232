"""The bucket of assets during a restore: what is missing comes back, what is wrong is repaired."""

from collections.abc import Callable
from dataclasses import dataclass

from influencerai_dagster.backup.objects.missing import ObjectRestoreReport, restore_objects
from influencerai_dagster.backup.objects.places import BackupTarget, Place
from influencerai_dagster.backup.verification.catalog_objects import NamedObject
from influencerai_dagster.backup.verification.contents import BucketContents
from influencerai_dagster.backup.verification.object_repair import repair_objects
from influencerai_dagster.backup.verification.verification import Verification, verify_objects
from influencerai_dagster.db.engine import create_catalog_engine
from influencerai_dagster.storage.object_store import ObjectStore

Say = Callable[[str], None]


@dataclass(frozen=True)
class Assets:
    """The bucket of assets and its backup.

    Attributes:
        store: for reading.
        place: the same bucket as rclone is told of it.
        backup: None brings no object back; those that are there are verified all the same.
    """

    store: ObjectStore
    place: Place
    backup: BackupTarget | None

    def bring_back(self, say: Say) -> ObjectRestoreReport:
        """Copy what is missing from the backup."""
        if self.backup is None:
            return ObjectRestoreReport()
        return restore_objects(
            self.backup,
            self.place,
            None,
            on_progress=lambda now: say(
                f"{now.num_copied} objects, {now.copied_bytes / 1000**2:.0f} MB copied"
            ),
        )

    def verify(self, catalog_url: str, found: Verification, say: Say) -> None:
        """Compare every object that a restored catalog names, and repair those that are wrong.

        Args:
            catalog_url: of the restored one.
            found: is added to.
            say: told what is done, for a person.
        """

        def mend(wrong: list[NamedObject]) -> None:
            if self.backup is None:
                return
            say(f"repairing {len(wrong)} objects that are not what the catalog says")
            report = repair_objects(self.backup, self.place, wrong)
            found.warnings += [
                f"object {key} was not what the catalog says, and was repaired from the backup; "
                f"the wrong bytes are in {report.kept_in}/{key}"
                for key in report.repaired
            ]

        engine = create_catalog_engine(catalog_url)
        try:
            verify_objects(
                found,
                engine,
                BucketContents(self.store),
                on_progress=lambda number: say(f"{number} objects compared"),
                mend=mend,
            )
        finally:
            engine.dispose()
