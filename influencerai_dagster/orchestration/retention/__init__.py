"""Retention in Dagster: its assets, checks and schedules, and the pruning of Dagster's own data."""
