"""Deletes what tenants no longer need: rules, plan, deletion, legal holds, removal of a tenant."""
