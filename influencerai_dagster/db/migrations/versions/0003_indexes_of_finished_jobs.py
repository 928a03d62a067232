"""Indexes of finished and failed jobs by time: what `influencerai jobs watch` asks for."""

from alembic import op

revision = "0003"
down_revision = "0002"

_STATEMENTS = (
    "CREATE INDEX ix_jobs_finished ON jobs (finished_at) INCLUDE (tenant_id, status)"
    " WHERE finished_at IS NOT NULL",
    "CREATE INDEX ix_jobs_failed ON jobs (finished_at) WHERE status = 'failed'",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
