"""Responses of language models: cached for a while, by tenant, deleted once they expired."""

from datetime import timedelta

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.db.engine import create_catalog_engine, transaction
from influencerai_dagster.db.response_cache import (
    ResponseCache,
    count_expired,
    delete_expired_responses,
)
from influencerai_dagster.errors import PermanentError, TransientError
from influencerai_dagster.retention.legal_holds import set_tenant_hold

KEY, OTHER_KEY = "a" * 64, "b" * 64
DAY = timedelta(days=1)


@pytest.fixture
def kept(engine: Engine) -> ResponseCache:
    return ResponseCache(engine, "demo", DAY)


def expire(engine: Engine, key: str = KEY) -> None:
    statement = "UPDATE llm_responses SET expires_at = now() - interval '1 second' WHERE key = :key"
    with transaction(engine) as session:
        session.execute(text(statement), {"key": key})


def test_an_answer_is_found_again_and_counted(kept: ResponseCache) -> None:
    assert kept.get(KEY) is None
    kept.put(KEY, "a woman, smiling")
    kept.put(KEY, "a woman, laughing")
    assert kept.get(KEY) == "a woman, laughing"
    assert (kept.get(OTHER_KEY), kept.num_hits) == (None, 1)


def test_a_tenant_reads_only_its_own_answers(engine: Engine, kept: ResponseCache) -> None:
    kept.put(KEY, "mine")
    other = ResponseCache(engine, "other", DAY)
    assert other.get(KEY) is None
    other.put(KEY, "theirs")
    assert (kept.get(KEY), other.get(KEY)) == ("mine", "theirs")


def test_an_answer_expires_and_is_deleted_by_retention(engine: Engine, kept: ResponseCache) -> None:
    kept.put(KEY, "old")
    kept.put(OTHER_KEY, "new")
    expire(engine)
    assert kept.get(KEY) is None
    with transaction(engine) as session:
        assert count_expired(session) == 1
    assert delete_expired_responses(engine) == 1
    assert (kept.get(OTHER_KEY), delete_expired_responses(engine)) == ("new", 0)


def test_an_answer_that_is_asked_for_again_is_kept_from_then_on(
    engine: Engine, kept: ResponseCache
) -> None:
    kept.put(KEY, "old")
    expire(engine)
    kept.put(KEY, "new")
    assert (delete_expired_responses(engine), kept.get(KEY)) == (0, "new")


def test_a_hold_keeps_answers_that_have_expired(engine: Engine, kept: ResponseCache) -> None:
    kept.put(KEY, "evidence")
    ResponseCache(engine, "other", DAY).put(KEY, "not held")
    expire(engine)
    with transaction(engine) as session:
        set_tenant_hold(session, "demo", is_on_hold=True)
        assert count_expired(session) == 1
    assert delete_expired_responses(engine) == 1
    with transaction(engine) as session:
        left = session.execute(text("SELECT tenant_id, text FROM llm_responses")).all()
    assert [tuple(row) for row in left] == [("demo", "evidence")]


def test_all_that_expired_is_deleted_in_small_batches(engine: Engine, kept: ResponseCache) -> None:
    for number in range(5):
        kept.put(f"{number}" * 64, "old")
        expire(engine, f"{number}" * 64)
    assert delete_expired_responses(engine, batch_rows=2) == 5


def test_an_answer_of_one_run_is_found_by_its_retries_only(engine: Engine) -> None:
    ResponseCache(engine, "demo", DAY, only_in_run="run-1").put(KEY, "a woman")
    assert ResponseCache(engine, "demo", DAY, only_in_run="run-1").get(KEY) == "a woman"
    assert ResponseCache(engine, "demo", DAY, only_in_run="run-2").get(KEY) is None
    assert ResponseCache(engine, "demo", DAY).get(KEY) is None


@pytest.mark.parametrize("key", ["", "a" * 63, "A" * 64, "../" + "a" * 61])
def test_a_key_is_a_hash(kept: ResponseCache, key: str) -> None:
    with pytest.raises(PermanentError, match="key_form"):
        kept.put(key, "text")


def test_a_server_that_is_away_may_be_asked_again() -> None:
    engine = create_catalog_engine("postgresql://x@127.0.0.1:1/x")
    away = ResponseCache(engine, "demo", DAY, retry_for_seconds=0)
    with pytest.raises(TransientError):
        away.get(KEY)
    with pytest.raises(TransientError):
        away.put(KEY, "text")
