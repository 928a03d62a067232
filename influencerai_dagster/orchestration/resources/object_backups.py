"""Where the objects' backup goes, for assets."""

from datetime import timedelta
from pathlib import Path

import dagster as dg

from influencerai_dagster.backup.objects.locations import (
    BackupTarget,
    Bucket,
    off_site,
    parse_location,
)
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource


class ObjectBackupResource(dg.ConfigurableResource):  # type: ignore[type-arg] # Dagster's own generic
    """The bucket of assets and the target of its backup, from the settings.

    Attributes:
        target: BACKUP_TARGET; "" is a folder in BACKUP_HOME, on the same disk.
        home: BACKUP_HOME; its files are copied to the target too.
        encryption_key: BACKUP_ENCRYPTION_KEY, "" if it is not set.
    """

    object_store: ObjectStoreResource
    target: str
    endpoint_url: str | None
    access_key: str
    secret_key: str
    region: str
    encryption_key: str
    bandwidth_limit: str
    home: str
    recovery_window_days: int

    @property
    def is_off_site(self) -> bool:
        """Whether a target is set."""
        return bool(self.target)

    @property
    def recovery_window(self) -> timedelta:
        """How far back every moment can be restored."""
        return timedelta(days=self.recovery_window_days)

    def source(self) -> Bucket:
        """Return the bucket of assets as rclone reaches it."""
        s3 = self.object_store.s3
        return Bucket(
            self.object_store.bucket,
            endpoint_url=s3.endpoint_url,
            access_key=s3.aws_access_key_id or "",
            secret_key=s3.aws_secret_access_key or "",
            region=s3.region_name or "us-east-1",
            is_path_style=s3.force_path_style,
            disk=Path(self.object_store.disk) if self.object_store.disk else None,
        )

    def backup_target(self) -> BackupTarget:
        """Return where the backup goes."""
        location = parse_location(
            self.target or str(off_site(Path(self.home))),
            endpoint_url=self.endpoint_url,
            access_key=self.access_key,
            secret_key=self.secret_key,
            region=self.region,
        )
        return BackupTarget(location, self.encryption_key, self.bandwidth_limit)
