"""Retention days and legal holds, what retention deleted, and pauses while the store is full."""

from alembic import op

revision = "0004"
down_revision = "0003"

_STATEMENTS = (
    "ALTER TABLE tenants ADD COLUMN retention_days integer",
    "ALTER TABLE tenants ADD CONSTRAINT ck_tenants_retention_days_range"
    " CHECK (retention_days BETWEEN 1 AND 36500)",
    "ALTER TABLE tenants ADD COLUMN is_on_hold boolean NOT NULL DEFAULT false",
    "ALTER TABLE media_assets ADD COLUMN is_on_hold boolean NOT NULL DEFAULT false",
    """
CREATE TABLE object_deletions (
    object_key text NOT NULL,
    tenant_id text NOT NULL,
    job_id uuid,
    size_bytes bigint NOT NULL,
    reason text NOT NULL,
    marked_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz,
    CONSTRAINT pk_object_deletions PRIMARY KEY (object_key),
    CONSTRAINT fk_object_deletions_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_object_deletions_object_key_of_tenant
        CHECK (split_part(object_key, '/', 2) = tenant_id)
)""",
    "CREATE INDEX ix_object_deletions_waiting ON object_deletions (tenant_id, marked_at)"
    " WHERE removed_at IS NULL",
    """
CREATE TABLE storage_pauses (
    bucket text NOT NULL,
    error text NOT NULL,
    since timestamptz NOT NULL DEFAULT now(),
    reported_at timestamptz NOT NULL DEFAULT now(),
    probed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_storage_pauses PRIMARY KEY (bucket)
)""",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
