"""Mean render times by kind of job in one column, so that a new kind needs no column of its own."""

from alembic import op

revision = "0008"
down_revision = "0007"

_STATEMENTS = (
    "ALTER TABLE gpu_shares ADD COLUMN mean_seconds jsonb NOT NULL DEFAULT '{}'",
    "UPDATE gpu_shares SET mean_seconds = jsonb_strip_nulls("
    "jsonb_build_object('image', image_seconds, 'video', video_seconds))",
    "ALTER TABLE gpu_shares DROP COLUMN image_seconds, DROP COLUMN video_seconds",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
