"""When it was last looked for workers and runs that fell silent."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute("""
CREATE TABLE sweeps (
    name text NOT NULL,
    swept_at timestamptz NOT NULL DEFAULT now(),
    since timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_sweeps PRIMARY KEY (name)
)""")
