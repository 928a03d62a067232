"""Start the processes of runs by a fork server: `run_launcher` of dagster.yaml, and its server."""
