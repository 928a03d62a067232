"""Claims jobs, renders them in parallel, renews their leases, and stops in time."""
