"""Run the programs that do the heavy work, each behind one small client.

They know nothing of Dagster or tenants.
"""
