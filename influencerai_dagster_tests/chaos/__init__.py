"""Chaos: many jobs, several workers and servers, and everything breaks at random.

`scenario.py` draws from a seed what is submitted and what breaks when; `servers.py` and `proxy.py`
run what gets killed; `worker.py` is one Dagster run's work in a process; `dispatcher.py` plays the
sensor, `customers.py` the tenants; `faults.py` breaks things; `runner.py` brings it all together;
`violations.py` says afterwards what should not have happened. docs/faults.md explains it all.
"""
