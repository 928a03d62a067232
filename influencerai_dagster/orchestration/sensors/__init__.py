"""Sensors: each reads the world, decides by a pure rule, and reports."""
