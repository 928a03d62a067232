"""Call Dagster's GraphQL API from outside Dagster: launch, wait for and list runs."""
