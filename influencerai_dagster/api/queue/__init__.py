"""What waits and runs of a tenant."""
