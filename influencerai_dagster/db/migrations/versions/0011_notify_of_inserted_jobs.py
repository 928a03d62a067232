"""Every insert into `jobs` notifies the workers and the web server, whoever makes it."""

from alembic import op

revision = "0011"
down_revision = "0010"

_STATEMENTS = (
    """
    CREATE FUNCTION notify_of_inserted_jobs() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify('influencerai_jobs', 'submitted');
        RETURN NULL;
    END $$
    """,
    "CREATE TRIGGER notify_of_inserted_jobs AFTER INSERT ON jobs"
    " FOR EACH STATEMENT EXECUTE FUNCTION notify_of_inserted_jobs()",
)


def upgrade() -> None:
    for statement in _STATEMENTS:
        op.execute(statement)
