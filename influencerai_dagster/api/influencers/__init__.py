"""Influencers of a tenant, with their personas."""
