"""PostgreSQL: models, sessions, the job ledger and its migrations. Bytes live in storage/."""
