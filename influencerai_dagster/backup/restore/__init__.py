"""Restore databases and objects to one target time, step by step; drills rehearse it."""
