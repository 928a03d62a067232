"""Jobs, workers and media assets may be of kind `upscale`."""

from alembic import op

revision = "0009"
down_revision = "0008"

_TABLES = ("jobs", "workers", "media_assets")
_KINDS = "kind IN ('image', 'video', 'upscale')"


def upgrade() -> None:
    for table in _TABLES:
        name = f"ck_{table}_kind_known"
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT {name}, ADD CONSTRAINT {name} CHECK ({_KINDS})"
        )
