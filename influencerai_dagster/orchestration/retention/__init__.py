"""Define retention in Dagster: assets, checks, schedules, and the pruning of Dagster's data."""
