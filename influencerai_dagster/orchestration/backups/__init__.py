"""Assets, checks, sensors and schedules of backups and restore drills."""
