"""`python -m influencerai_dagster.cli` is `influencerai`."""

from influencerai_dagster.cli import app

app()
