"""Answers of language models that are kept for a while."""

from alembic import op

revision = "0005"
down_revision = "0004"

_STATEMENTS = (
    """
CREATE TABLE llm_answers (
    tenant_id text NOT NULL,
    key text NOT NULL,
    text text NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT pk_llm_answers PRIMARY KEY (tenant_id, key),
    CONSTRAINT fk_llm_answers_tenant_id FOREIGN KEY (tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_llm_answers_key_form CHECK (key ~ '^[0-9a-f]{64}$')
)""",
    "CREATE INDEX ix_llm_answers_expires_at ON llm_answers (expires_at)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
