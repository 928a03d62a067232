"""Users, API keys, the audit log and token buckets; row-level security for the API's role."""

from alembic import op

revision = "0010"
down_revision = "0009"

_ROLE = "influencerai_api"
_TABLES = (
    """
CREATE TABLE users (
    id uuid NOT NULL,
    tenant_id text NOT NULL,
    email text NOT NULL,
    password_hash text NOT NULL,
    role text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    signed_in_at timestamptz,
    tokens_valid_from timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT fk_users_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT uq_users_tenant_id_id UNIQUE (tenant_id, id),
    CONSTRAINT uq_users_email UNIQUE (email),
    CONSTRAINT ck_users_email_is_lower CHECK (email = lower(email)),
    CONSTRAINT ck_users_role_known CHECK (role IN ('owner', 'editor', 'viewer'))
)""",
    """
CREATE TABLE api_keys (
    id uuid NOT NULL,
    tenant_id text NOT NULL,
    user_id uuid NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    sha256 text NOT NULL,
    scopes text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT fk_api_keys_tenant_id_user_id FOREIGN KEY (tenant_id, user_id)
        REFERENCES users (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT uq_api_keys_sha256 UNIQUE (sha256),
    CONSTRAINT ck_api_keys_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_api_keys_has_scope CHECK (cardinality(scopes) > 0)
)""",
    "CREATE INDEX ix_api_keys_tenant_id_user_id ON api_keys (tenant_id, user_id)",
    """
CREATE TABLE audit_entries (
    tenant_id text NOT NULL,
    number bigint NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    target text NOT NULL,
    detail jsonb NOT NULL,
    address text NOT NULL,
    sha256 text NOT NULL,
    CONSTRAINT pk_audit_entries PRIMARY KEY (tenant_id, number),
    CONSTRAINT fk_audit_entries_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_audit_entries_sha256_form CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    CONSTRAINT ck_audit_entries_number CHECK (number > 0)
)""",
    """
CREATE FUNCTION refuse_audit_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE'
       AND OLD.tenant_id = current_setting('influencerai.removed_tenant', true) THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END $$""",
    "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit_entries"
    " FOR EACH ROW EXECUTE FUNCTION refuse_audit_change()",
    "CREATE TRIGGER never_truncated BEFORE TRUNCATE ON audit_entries"
    " FOR EACH STATEMENT EXECUTE FUNCTION refuse_audit_change()",
    """
CREATE TABLE rate_buckets (
    key text NOT NULL,
    tokens double precision NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT pk_rate_buckets PRIMARY KEY (key),
    CONSTRAINT ck_rate_buckets_tokens CHECK (tokens >= 0)
)""",
    "CREATE INDEX ix_rate_buckets_updated_at ON rate_buckets (updated_at)",
)
_COLUMN_OF_TENANT = {
    "tenants": "id",
    **dict.fromkeys(
        (
            *("influencers", "datasets", "lora_configs", "loras", "jobs", "media_assets"),
            *("gpu_shares", "workers", "object_deletions", "llm_responses"),
            *("users", "api_keys", "audit_entries"),
        ),
        "tenant_id",
    ),
}


def upgrade() -> None:
    for statement in _TABLES:
        op.execute(statement)
    # No policy names the role: a dump with it could not be loaded where the role is missing. All
    # other users, who run everything else, see what they saw.
    for table, column in _COLUMN_OF_TENANT.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY own_tenant ON {table} USING (current_user <> '{_ROLE}'"
            f" OR {column} = current_setting('influencerai.tenant', true))"
        )
