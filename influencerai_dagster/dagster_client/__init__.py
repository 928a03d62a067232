"""Client of Dagster's GraphQL API: launch, wait for and list runs from outside Dagster."""
