"""Take, keep, verify and restore backups; most modules run one external program.

restore/ uses verification/, and that uses objects/ and database/. All of it runs while Dagster is
down: nothing here imports Dagster, the local stack or the settings.
"""
