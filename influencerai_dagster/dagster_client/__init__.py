"""Asks Dagster from outside, through its GraphQL API: launch, wait, terminate."""
