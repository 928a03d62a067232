"""Restores databases and objects to one instant, step by step; the drill does so for nothing."""
