"""The first tables: tenants, influencers, datasets, LoRAs, jobs, media assets."""

from alembic import op

revision = "0001"
down_revision = None

_TENANTS = (
    """
CREATE TABLE tenants (
    id text NOT NULL,
    name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_tenants PRIMARY KEY (id),
    CONSTRAINT ck_tenants_id_is_part CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$')
)""",
    """
CREATE TABLE influencers (
    tenant_id text NOT NULL,
    id text NOT NULL,
    name text NOT NULL,
    persona jsonb NOT NULL,
    dataset text NOT NULL,
    trigger_phrase text NOT NULL,
    class_caption text NOT NULL,
    CONSTRAINT pk_influencers PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_influencers_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_influencers_tenant_id_dataset UNIQUE (tenant_id, dataset),
    CONSTRAINT ck_influencers_id_is_part CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT ck_influencers_dataset_is_part CHECK (dataset ~ '^[a-z0-9][a-z0-9_-]{0,62}$')
)""",
    """
CREATE TABLE datasets (
    tenant_id text NOT NULL,
    id text NOT NULL,
    version text NOT NULL,
    manifest_key text NOT NULL,
    num_images integer NOT NULL,
    num_rejected integer NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_datasets PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_datasets_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_datasets_id_is_part CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT ck_datasets_manifest_key_of_tenant
        CHECK (split_part(manifest_key, '/', 2) = tenant_id),
    CONSTRAINT ck_datasets_counts CHECK (num_images >= 0 AND num_rejected >= 0)
)""",
    """
CREATE TABLE lora_configs (
    tenant_id text NOT NULL,
    name text NOT NULL,
    is_default boolean NOT NULL DEFAULT false,
    preset text NOT NULL,
    overrides jsonb NOT NULL,
    CONSTRAINT pk_lora_configs PRIMARY KEY (tenant_id, name),
    CONSTRAINT fk_lora_configs_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_lora_configs_name_is_part CHECK (name ~ '^[a-z0-9][a-z0-9_-]{0,62}$')
)""",
    "CREATE UNIQUE INDEX uq_lora_configs_default ON lora_configs (tenant_id) WHERE is_default",
    """
CREATE TABLE loras (
    tenant_id text NOT NULL,
    id text NOT NULL,
    dataset text NOT NULL,
    dataset_version text NOT NULL,
    recipe_version text NOT NULL,
    base_model_family text NOT NULL,
    trigger_phrase text NOT NULL,
    weights_key text NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    manifest_key text NOT NULL,
    created_at timestamptz NOT NULL,
    chosen_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_loras PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_loras_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_loras_tenant_id_recipe_version UNIQUE (tenant_id, recipe_version),
    CONSTRAINT uq_loras_weights_key UNIQUE (weights_key),
    CONSTRAINT ck_loras_id_is_part CHECK (id ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT ck_loras_dataset_is_part CHECK (dataset ~ '^[a-z0-9][a-z0-9_-]{0,62}$'),
    CONSTRAINT ck_loras_weights_key_of_tenant CHECK (split_part(weights_key, '/', 2) = tenant_id),
    CONSTRAINT ck_loras_manifest_key_of_tenant
        CHECK (split_part(manifest_key, '/', 2) = tenant_id),
    CONSTRAINT ck_loras_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_loras_size CHECK (size_bytes > 0)
)""",
    "CREATE INDEX ix_loras_newest ON loras (tenant_id, dataset, chosen_at)",
)

_JOBS = (
    """
CREATE TABLE jobs (
    id uuid NOT NULL,
    number bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    tenant_id text NOT NULL,
    day date NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    priority smallint NOT NULL,
    idempotency_key text,
    payload jsonb NOT NULL,
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL,
    not_before timestamptz NOT NULL DEFAULT now(),
    lease_owner text,
    lease_token bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    depends_on uuid,
    lora_datasets text[] NOT NULL DEFAULT '{}',
    error text,
    error_class text,
    result jsonb,
    gpu_seconds double precision NOT NULL DEFAULT 0,
    cost_usd numeric(12, 6) NOT NULL DEFAULT 0,
    dagster_run_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz,
    finished_at timestamptz,
    CONSTRAINT pk_jobs PRIMARY KEY (id),
    CONSTRAINT fk_jobs_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_jobs_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT fk_jobs_tenant_id_depends_on
        FOREIGN KEY (tenant_id, depends_on) REFERENCES jobs (tenant_id, id),
    CONSTRAINT uq_jobs_tenant_id_idempotency_key UNIQUE (tenant_id, idempotency_key),
    CONSTRAINT ck_jobs_kind_known CHECK (kind IN ('image', 'video')),
    CONSTRAINT ck_jobs_status_known
        CHECK (status IN ('pending', 'running', 'completed', 'failed', 'cancelled')),
    CONSTRAINT ck_jobs_priority_range CHECK (priority BETWEEN 0 AND 9),
    CONSTRAINT ck_jobs_payload_of_kind CHECK (payload->>'kind' = kind),
    CONSTRAINT ck_jobs_attempt_range CHECK (attempt BETWEEN 0 AND max_attempts),
    CONSTRAINT ck_jobs_costs CHECK (gpu_seconds >= 0 AND cost_usd >= 0),
    CONSTRAINT ck_jobs_running_is_leased CHECK (
        (status = 'running') = (lease_owner IS NOT NULL)
        AND (status = 'running') = (lease_expires_at IS NOT NULL)
    ),
    CONSTRAINT ck_jobs_finished_has_time
        CHECK ((status IN ('pending', 'running')) = (finished_at IS NULL)),
    CONSTRAINT ck_jobs_failed_has_reason CHECK (status <> 'failed' OR error IS NOT NULL),
    CONSTRAINT ck_jobs_completed_has_result CHECK (status <> 'completed' OR result IS NOT NULL)
)""",
    "CREATE INDEX ix_jobs_pending ON jobs (kind, priority DESC, number) WHERE status = 'pending'",
    "CREATE INDEX ix_jobs_pending_of_day ON jobs (tenant_id, kind, day, priority DESC, number)"
    " WHERE status = 'pending'",
    "CREATE INDEX ix_jobs_running ON jobs (lease_expires_at) WHERE status = 'running'",
    "CREATE INDEX ix_jobs_tenant_number ON jobs (tenant_id, number)",
    "CREATE INDEX ix_jobs_tenant_day ON jobs (tenant_id, day, kind, number)",
    "CREATE INDEX ix_jobs_depends_on ON jobs (depends_on) WHERE depends_on IS NOT NULL",
    """
CREATE TABLE media_assets (
    tenant_id text NOT NULL,
    id uuid NOT NULL,
    job_id uuid NOT NULL,
    kind text NOT NULL,
    object_key text NOT NULL,
    manifest_key text NOT NULL,
    sha256 text NOT NULL,
    size_bytes bigint NOT NULL,
    width_px integer NOT NULL,
    height_px integer NOT NULL,
    duration_seconds double precision,
    created_at timestamptz NOT NULL DEFAULT now(),
    deleted_at timestamptz,
    CONSTRAINT pk_media_assets PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_media_assets_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT fk_media_assets_tenant_id_job_id
        FOREIGN KEY (tenant_id, job_id) REFERENCES jobs (tenant_id, id),
    CONSTRAINT uq_media_assets_job_id UNIQUE (job_id),
    CONSTRAINT uq_media_assets_object_key UNIQUE (object_key),
    CONSTRAINT ck_media_assets_kind_known CHECK (kind IN ('image', 'video')),
    CONSTRAINT ck_media_assets_object_key_of_tenant
        CHECK (split_part(object_key, '/', 2) = tenant_id),
    CONSTRAINT ck_media_assets_manifest_key_of_tenant
        CHECK (split_part(manifest_key, '/', 2) = tenant_id),
    CONSTRAINT ck_media_assets_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_media_assets_size CHECK (size_bytes > 0 AND width_px > 0 AND height_px > 0)
)""",
    "CREATE INDEX ix_media_assets_created ON media_assets (tenant_id, created_at)",
)


def upgrade() -> None:
    for statement in (*_TENANTS, *_JOBS):
        op.execute(statement)
