"""Run the stack on one machine.

PostgreSQL, an S3 server, simulated engines and Dagster under one supervisor.
"""
