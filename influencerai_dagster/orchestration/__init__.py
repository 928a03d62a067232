"""The only folder that imports Dagster: thin code that reads inputs, calls one stage, reports metadata."""
