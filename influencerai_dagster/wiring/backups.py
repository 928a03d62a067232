"""Build what backs up and restores: Barman or pg_dump, the bucket, the target, the drill."""

from pathlib import Path

from influencerai_dagster.backup.database.barman import BarmanServer
from influencerai_dagster.backup.database.pg_dump import PgDumps
from influencerai_dagster.backup.objects.locations import (
    BackupTarget,
    Bucket,
    off_site,
    parse_location,
)
from influencerai_dagster.backup.restore.both_databases import BothDatabases
from influencerai_dagster.backup.restore.drill import Drill
from influencerai_dagster.backup.restore.restored_server import find_bin_dir
from influencerai_dagster.settings import Settings


def both_databases(settings: Settings) -> BothDatabases:
    """Return the catalog and Dagster's database."""
    return BothDatabases(settings.database.url, settings.dagster.database_url)


def barman_server(settings: Settings) -> BarmanServer:
    """Return the PostgreSQL server as Barman backs it up."""
    backup = settings.backup
    return BarmanServer(
        home=backup.home,
        database_url=backup.database_url or settings.database.url,
        retention_days=backup.recovery_window_days,
        postgres_bin_dir=backup.postgres_bin_dir,
    )


def database_backups(settings: Settings) -> BarmanServer | PgDumps:
    """Return the backups of both databases, by BACKUP_DATABASE_MODE."""
    if settings.backup.database_mode == "barman":
        return barman_server(settings)
    return PgDumps(
        home=settings.backup.home,
        database_urls=both_databases(settings).urls,
        retention_days=settings.backup.recovery_window_days,
        postgres_bin_dir=settings.backup.postgres_bin_dir,
    )


def assets_bucket(settings: Settings) -> Bucket:
    """Return the bucket of assets as rclone reaches it."""
    s3 = settings.s3
    return Bucket(
        s3.bucket,
        endpoint_url=s3.endpoint,
        access_key=s3.key,
        secret_key=s3.secret.get_secret_value(),
        region=s3.region,
        is_path_style=s3.force_path_style,
        disk=s3.disk,
    )


def backup_target(settings: Settings) -> BackupTarget:
    """Return the target of the copies: BACKUP_TARGET, or a folder in BACKUP_HOME."""
    backup = settings.backup
    location = parse_location(
        backup.target or str(off_site(backup.home)),
        endpoint_url=backup.s3_endpoint,
        access_key=backup.s3_key,
        secret_key=backup.s3_secret.get_secret_value(),
        region=backup.s3_region,
    )
    key = backup.encryption_key
    return BackupTarget(location, key.get_secret_value() if key else "", backup.bandwidth_limit)


def scratch_dir(settings: Settings, given: Path | None = None) -> Path:
    """Return the folder that restores and drills work in."""
    return (given or settings.backup.home / "drills").absolute()


def restore_drill(settings: Settings, scratch: Path | None = None) -> Drill:
    """Return the restore drill.

    Args:
        settings: which backups are drilled.
        scratch: the folder to restore into; None is one in BACKUP_HOME.

    Raises:
        PermanentError: PostgreSQL's server programs are not in BACKUP_POSTGRES_BIN_DIR.
    """
    find_bin_dir(settings.backup.postgres_bin_dir)  # no drill at all, rather than a broken backup
    return Drill(
        backups=database_backups(settings),
        databases=both_databases(settings),
        target=backup_target(settings),
        scratch_dir=scratch_dir(settings, scratch),
    )
