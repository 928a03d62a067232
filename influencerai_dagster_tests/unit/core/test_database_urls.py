"""URLs of databases as people write them, brought into one form."""

import pytest
from sqlalchemy import make_url

from influencerai_dagster.core.database_urls import (
    canonical_database_url,
    database_name,
    in_database,
    libpq_parameters,
)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("postgres://u:p@h/db", "postgresql://u:p@h/db"),
        ("postgresql+psycopg2://u@h:5/db", "postgresql://u@h:5/db"),
        ("postgresql://u@h/db?schema=public", "postgresql://u@h/db"),
        (
            "postgresql://u@h/db?schema=infl&sslmode=disable",
            "postgresql://u@h/db?options=-csearch_path%3Dinfl&sslmode=disable",
        ),
        ("postgresql://u@%2Frun%2Fpg/db", "postgresql://u@/db?host=%2Frun%2Fpg"),
        ("postgresql://u@/db?host=/run/pg", "postgresql://u@/db?host=%2Frun%2Fpg"),
        (
            "postgresql://u@h1:1,h2:2/db?target_session_attrs=read-write",
            "postgresql://u@/db?host=h1%2Ch2&port=1%2C2&target_session_attrs=read-write",
        ),
        ("postgresql://u@[::1]:5/db", "postgresql://u@[::1]:5/db"),
        ("postgresql://u:%40%2F%25@h/my%20db", "postgresql://u:%40%2F%25@h/my%20db"),
    ],
)
def test_every_form_of_libpq_comes_to_one(url: str, canonical: str) -> None:
    assert canonical_database_url(url) == canonical
    assert canonical_database_url(canonical) == canonical
    assert libpq_parameters(canonical)["user"] == make_url(canonical).username == "u"


@pytest.mark.parametrize(
    "url",
    [
        *("mysql://u:hunter2@h/db", "u:hunter2@h/db", "postgresql://u:hunter2/x@h/db"),
        *("postgresql://u:hunter2@x@h/db", "postgresql://u:hunter2%zz@h/db"),
        *("postgresql://u:hunter2@h:99999/db", "postgresql://u:hunter2@h/", "postgresql:///db"),
        *("postgresql://u:hunter2@$HOST/db", "postgresql://u:hunter2@h/db?pgbouncer=true"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_no_password_shown(url: str) -> None:
    with pytest.raises(ValueError, match=r"postgresql://user|names no|has the option") as caught:
        canonical_database_url(url)
    assert "hunter2" not in str(caught.value)


def test_another_database_of_the_same_server_keeps_the_rest() -> None:
    url = in_database("postgresql://u:p%2F@h1:1,h2:2/one?sslmode=require", "two words")
    assert database_name(url) == "two words"
    assert libpq_parameters(url) == {
        "user": "u",
        "password": "p/",
        "dbname": "two words",
        "host": "h1,h2",
        "port": "1,2",
        "sslmode": "require",
    }
