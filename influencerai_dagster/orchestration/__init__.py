"""The only folder that imports Dagster.

Thin code that reads inputs, calls one stage, reports metadata.
"""
