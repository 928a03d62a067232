"""Serve Dagster's web server behind a gate: which hosts, origins and users may call it.

Dagster's server accepts every request. docs/security.md says which ones are rejected here, and why.
"""
