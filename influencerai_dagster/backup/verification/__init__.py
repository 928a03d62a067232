"""Verify restored databases and objects, and repair the objects that are missing or corrupt."""
