"""Define what Dagster runs and shows; one folder per capability.

Thin code: read inputs, call one function, report metadata. Besides this folder only
`definitions.py`, which lists it, and webserver/ import Dagster.
"""
