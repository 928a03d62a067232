"""Batches of jobs, which the API's tenants submit under one idempotency key."""

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.execute("""
CREATE TABLE job_batches (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    idempotency_key text,
    request_sha256 text NOT NULL,
    job_ids uuid[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_job_batches PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_job_batches_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_job_batches_tenant_id_idempotency_key UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT ck_job_batches_has_jobs CHECK (cardinality(job_ids) > 0)
)""")
    op.execute("ALTER TABLE job_batches ENABLE ROW LEVEL SECURITY")
    op.execute(
        "CREATE POLICY own_tenant ON job_batches USING (current_user <> 'influencerai_api'"
        " OR tenant_id = current_setting('influencerai.tenant', true))"
    )
