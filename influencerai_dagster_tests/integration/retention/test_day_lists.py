"""Lists of days on a real catalog and a real bucket: deleted after their day, removed late."""

from datetime import date, timedelta

import pytest
from sqlalchemy import Engine, text

from influencerai_dagster.core.keys import DayKey
from influencerai_dagster.core.object_paths import day_manifest_key
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.retention import legal_holds
from influencerai_dagster.retention.day_lists import delete_day_lists
from influencerai_dagster.retention.deletion import (
    Deletions,
    RetentionPlan,
    RetentionRules,
    plan_retention,
)
from influencerai_dagster.retention.rows import tombstones
from influencerai_dagster.retention.rules import DayPartitions, RetentionAction
from influencerai_dagster.storage.object_store import ObjectStore
from influencerai_dagster_tests.testing.catalog_rows import submit_one

RULES = RetentionRules(days=90, recovery_window=timedelta(days=30))
DAY = DayKey("demo", date(2026, 1, 1))
KEYS = [day_manifest_key(kind, DAY, "0123456789abcdef") for kind in ("images", "videos")]
GONE = DayPartitions(kept=frozenset())
ENDING = DayPartitions(kept=frozenset(), ending=frozenset({DAY}))
THERE = DayPartitions(kept=frozenset({DAY}))


@pytest.fixture
def store(object_store: ObjectStore) -> ObjectStore:
    for key in KEYS:
        object_store.put_latest(key, b"{}")
    return object_store


def plan(engine: Engine, store: ObjectStore, days: DayPartitions = GONE) -> RetentionPlan:
    return plan_retention(engine, store, RULES, days=days)


def run(engine: Engine, store: ObjectStore, planned: RetentionPlan) -> Deletions:
    done = Deletions()
    delete_day_lists(engine, store, planned, RULES, done)
    return done


def age_tombstones(engine: Engine, days: int) -> None:
    change = "UPDATE object_deletions SET marked_at = now() - make_interval(days => :days)"
    with transaction(engine) as session:
        session.execute(text(change), {"days": days})


def num_tombstones(engine: Engine) -> int:
    with transaction(engine) as session:
        return len(tombstones(session, "demo"))


def test_lists_go_after_the_window_and_every_version_of_the_day(
    engine: Engine, store: ObjectStore
) -> None:
    assert run(engine, store, plan(engine, store, THERE)) == Deletions()
    assert run(engine, store, plan(engine, store, ENDING)).deleted == KEYS
    age_tombstones(engine, 30)
    assert run(engine, store, plan(engine, store)) == Deletions()
    age_tombstones(engine, 32)
    assert run(engine, store, plan(engine, store)).removed == dict.fromkeys(KEYS, 2)
    assert [store.head(key) for key in KEYS] == [None, None]
    assert num_tombstones(engine) == 0


def test_the_window_of_a_day_that_came_back_begins_again(
    engine: Engine, store: ObjectStore
) -> None:
    run(engine, store, plan(engine, store, ENDING))
    age_tombstones(engine, 400)
    planned = plan(engine, store, ENDING)
    assert len(planned.of(RetentionAction.DELETE)) == 2
    run(engine, store, planned)
    assert len(plan(engine, store).of(RetentionAction.WAIT)) == 2
    age_tombstones(engine, 400)
    run(engine, store, plan(engine, store, THERE))
    assert num_tombstones(engine) == 0


def test_a_list_that_was_removed_and_written_again_is_deleted_again(
    engine: Engine, store: ObjectStore
) -> None:
    run(engine, store, plan(engine, store))
    age_tombstones(engine, 32)
    run(engine, store, plan(engine, store))
    store.put_latest(KEYS[0], b"{}")
    assert run(engine, store, plan(engine, store)).deleted == KEYS[:1]
    assert num_tombstones(engine) == 1


@pytest.mark.parametrize("action", [RetentionAction.DELETE, RetentionAction.REMOVE])
@pytest.mark.parametrize("why", ["hold", "job"])
def test_a_hold_or_a_job_that_comes_after_the_plan_keeps_the_lists(
    engine: Engine, store: ObjectStore, action: RetentionAction, why: str
) -> None:
    if action is RetentionAction.REMOVE:
        run(engine, store, plan(engine, store))
        age_tombstones(engine, 32)
    planned = plan(engine, store)
    assert len(planned.of(action)) == 2
    if why == "hold":
        with transaction(engine) as session:
            legal_holds.set_tenant_hold(session, "demo", is_on_hold=True)
    else:
        submit_one(engine)
        with transaction(engine) as session:
            session.execute(text("UPDATE jobs SET day = :day"), {"day": DAY.day})
    assert run(engine, store, planned) == Deletions(skipped=KEYS)
    assert all(store.head(key) for key in KEYS)


def test_nobody_who_did_not_ask_dagster_deletes_a_list(engine: Engine, store: ObjectStore) -> None:
    planned = plan_retention(engine, store, RULES)
    assert {item.decision.action for item in planned.objects} == {RetentionAction.KEEP}
