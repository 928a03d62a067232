"""Backups: take, keep, prove, restore.

Runs while Dagster is down: nothing here knows Dagster, the local stack or the environment. One
module per program that is wrapped; what is kept for how long is a rule of domain/.
"""
