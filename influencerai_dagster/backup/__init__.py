"""Takes, keeps, proves and restores backups; runs while Dagster is down."""
