"""Connect to PostgreSQL: one schema (models/), its migrations, and the rows that all share.

The job queue is in generation/queue/. Bytes live in storage/.
"""
