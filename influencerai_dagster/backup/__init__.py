"""Takes, keeps, proves and restores backups; one module per command of the wrapped tools.

Runs while Dagster is down, so nothing here knows it, or the local stack, or the settings.
"""
