"""Takes, keeps, proves and restores backups; one module per command of the wrapped tools.

restore/ stands on proof/, and that on objects/ and database/. All of it runs while Dagster is down,
so nothing here knows it, or the local stack, or the settings.
"""
