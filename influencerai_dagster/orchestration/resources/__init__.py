"""Dagster resources: how ops reach PostgreSQL, S3, the engines and the backups.

An op names one by its key and type: `catalog: CatalogResource`. Each holds the settings and asks
`wiring` for domain objects when the op needs them, so that a missing setting fails the op with its
reason and not the start of the run. No value of a setting is part of a resource's definition: the
snapshot that the web server reads has no secret in it.
"""
