"""Runs have no heartbeats any more; `running_trainings` says which of them train."""

from alembic import op

revision = "0012"
down_revision = "0011"

_STATEMENTS = (
    """
CREATE TABLE running_trainings (
    run_id text NOT NULL,
    dataset text NOT NULL,
    owns_gpu boolean DEFAULT false NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT pk_running_trainings PRIMARY KEY (run_id)
)""",
    """
INSERT INTO running_trainings (run_id, dataset, owns_gpu, started_at)
SELECT run_id, training, owns_gpu, started_at FROM run_heartbeats WHERE training IS NOT NULL""",
    "DROP TABLE run_heartbeats",
    "DELETE FROM sweeps WHERE name = 'heartbeats'",
    "ALTER TABLE sweeps DROP COLUMN since",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
