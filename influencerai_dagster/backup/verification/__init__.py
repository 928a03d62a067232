"""Verifies what was restored, and repairs the objects that are missing or corrupt."""
