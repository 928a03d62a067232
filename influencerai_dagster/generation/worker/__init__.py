"""Claim jobs, render them in parallel, renew their leases, and stop in time."""
