"""Tables get the field's words: drains are workers, llm_answers are llm_responses.

Which training has the GPU was the beginning of a text ("train_lora demo/bella" has the shared one,
"training demo/bella" its own); now it is in columns.
"""

from alembic import op

revision = "0007"
down_revision = "0006"

_RENAME_CONSTRAINTS = """
DO $$ DECLARE old text; BEGIN
    FOR old IN SELECT conname FROM pg_constraint WHERE conrelid = '{new}'::regclass LOOP
        IF old LIKE '%{old}%' THEN  -- from PostgreSQL 18 on, NOT NULL has a name too
            EXECUTE format(
                'ALTER TABLE {new} RENAME CONSTRAINT %I TO %I', old, replace(old, '{old}', '{new}')
            );
        END IF;
    END LOOP;
END $$
"""
_STATEMENTS = (
    "ALTER TABLE drains RENAME TO workers",
    _RENAME_CONSTRAINTS.format(old="drains", new="workers"),
    "ALTER TABLE llm_answers RENAME TO llm_responses",
    _RENAME_CONSTRAINTS.format(old="llm_answers", new="llm_responses"),
    "ALTER INDEX ix_llm_answers_expires_at RENAME TO ix_llm_responses_expires_at",
    "ALTER TABLE run_heartbeats ADD COLUMN training text,"
    " ADD COLUMN owns_gpu boolean NOT NULL DEFAULT false",
    "UPDATE run_heartbeats SET training = split_part(activity, ' ', 2),"
    " owns_gpu = starts_with(activity, 'train_lora ')"
    " WHERE split_part(activity, ' ', 1) IN ('train_lora', 'training')",
    "ALTER TABLE run_heartbeats ADD CONSTRAINT ck_run_heartbeats_gpu_of_training"
    " CHECK (training IS NOT NULL OR NOT owns_gpu)",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
