"""Dagster resources: how ops reach PostgreSQL, S3 and the engines."""
