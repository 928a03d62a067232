"""The tenants' API: HTTP routes below /api/v1, one folder per resource.

Dagster has no authentication and stays with the operators; tenants come here. A route checks the
caller, calls one function of the domain and returns a document. No module here imports Dagster:
runs are started by dagster_client/.
"""
