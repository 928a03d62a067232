"""Simulated engines for a machine without a GPU: faithful to recorded traffic, marked SIMULATED."""
