"""Take and keep backups of the databases: with Barman or pg_dump, and WAL as it is written."""
