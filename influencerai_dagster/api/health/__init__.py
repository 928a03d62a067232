"""Probes of orchestrators and load balancers."""
