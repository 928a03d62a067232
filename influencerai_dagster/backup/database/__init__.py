"""Takes and keeps backups of the databases: Barman or pg_dump, and WAL as it is written."""
