"""Call Dagster's GraphQL API from outside Dagster: launch, wait for and list runs.

Here is also what asks Dagster and the stores together: a dataset's status, a tenant's removal.
"""
