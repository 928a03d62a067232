"""Define the assets, checks, sensors and schedules of backups and restore drills."""
