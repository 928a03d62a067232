"""The only folder that imports Dagster; one folder per capability.

Thin code: read inputs, call one function, report metadata.
"""
