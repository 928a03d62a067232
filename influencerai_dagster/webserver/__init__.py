"""Dagster's web server behind a door of our own: who may ask, and from where.

Dagster's server takes whatever reaches it. docs/security.md says what is refused here, and why.
"""
