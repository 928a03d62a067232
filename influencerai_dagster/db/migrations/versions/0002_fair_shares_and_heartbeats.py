"""Fair shares of the GPU: tenants' weights and tags, drains, heartbeats of Dagster runs."""

from alembic import op

revision = "0002"
down_revision = "0001"

_STATEMENTS = (
    "ALTER TABLE tenants ADD COLUMN gpu_weight double precision NOT NULL DEFAULT 1",
    "ALTER TABLE tenants ADD CONSTRAINT ck_tenants_gpu_weight_range"
    " CHECK (gpu_weight > 0 AND gpu_weight <= 1000)",
    "ALTER TABLE jobs ADD COLUMN server text",
    "ALTER TABLE jobs ADD COLUMN progress real NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD COLUMN charged_seconds double precision NOT NULL DEFAULT 0",
    "ALTER TABLE jobs ADD CONSTRAINT ck_jobs_progress_range CHECK (progress BETWEEN 0 AND 1)",
    """
CREATE TABLE gpu_shares (
    tenant_id text NOT NULL,
    start_tag double precision NOT NULL DEFAULT 0,
    finish_tag double precision NOT NULL DEFAULT 0,
    used_seconds double precision NOT NULL DEFAULT 0,
    image_seconds double precision,
    video_seconds double precision,
    CONSTRAINT pk_gpu_shares PRIMARY KEY (tenant_id),
    CONSTRAINT fk_gpu_shares_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_gpu_shares_used CHECK (used_seconds >= 0)
)""",
    """
CREATE TABLE drains (
    owner text NOT NULL,
    tenant_id text NOT NULL,
    kind text NOT NULL,
    day date NOT NULL,
    num_wanted integer NOT NULL DEFAULT 0,
    polled_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_drains PRIMARY KEY (owner),
    CONSTRAINT fk_drains_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_drains_kind_known CHECK (kind IN ('image', 'video'))
)""",
    """
CREATE TABLE run_heartbeats (
    run_id text NOT NULL,
    activity text NOT NULL,
    host text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    beat_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_run_heartbeats PRIMARY KEY (run_id)
)""",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
