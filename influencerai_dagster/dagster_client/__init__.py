"""Client of Dagster's GraphQL API: launch, wait for and list runs from outside Dagster.

Here is also what asks Dagster and the stores together: a dataset's status, a tenant's removal.
"""
