"""Tables get the field's words: drains are workers, llm_answers are llm_responses."""

from alembic import op

revision = "0007"
down_revision = "0006"

_STATEMENTS = (
    "ALTER TABLE drains RENAME TO workers",
    "ALTER TABLE workers RENAME CONSTRAINT pk_drains TO pk_workers",
    "ALTER TABLE workers RENAME CONSTRAINT fk_drains_tenant_id TO fk_workers_tenant_id",
    "ALTER TABLE workers RENAME CONSTRAINT ck_drains_kind_known TO ck_workers_kind_known",
    "ALTER TABLE llm_answers RENAME TO llm_responses",
    "ALTER TABLE llm_responses RENAME CONSTRAINT pk_llm_answers TO pk_llm_responses",
    "ALTER TABLE llm_responses RENAME CONSTRAINT fk_llm_answers_tenant_id"
    " TO fk_llm_responses_tenant_id",
    "ALTER TABLE llm_responses RENAME CONSTRAINT ck_llm_answers_key_form"
    " TO ck_llm_responses_key_form",
    "ALTER INDEX ix_llm_answers_expires_at RENAME TO ix_llm_responses_expires_at",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
