"""Removing a tenant's rows: all of them, and never against a hold that is just being set."""

import threading

from sqlalchemy import Engine

from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.models.content import CatalogModel
from influencerai_dagster.db.tenants import list_tenants
from influencerai_dagster.errors import PermanentError
from influencerai_dagster.retention import legal_holds
from influencerai_dagster.retention.tenant_removal import count_rows, remove_rows
from influencerai_dagster_tests.testing.catalog_rows import claim_one, complete_job, submit_one


def test_every_table_that_names_a_tenant_is_counted(engine: Engine) -> None:
    named = {
        key.parent.table.name
        for table in CatalogModel.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "tenants"
    }
    with transaction(engine) as session:
        assert named - set(count_rows(session, "demo")) == set()


def test_a_hold_that_is_being_set_is_waited_for_and_kept(engine: Engine) -> None:
    submit_one(engine)
    asset = complete_job(engine, claim_one(engine))
    reported: list[str] = []

    def remove() -> None:
        try:
            with transaction(engine) as session:
                remove_rows(session, "demo")
        except PermanentError as error:
            reported.append(str(error))

    remover = threading.Thread(target=remove)
    with transaction(engine) as session:
        legal_holds.set_job_hold(session, "demo", asset.job_id, is_on_hold=True)
        remover.start()
        remover.join(timeout=0.5)
        assert remover.is_alive(), "it did not wait"
    remover.join(timeout=30)
    with transaction(engine) as session:
        assert "demo" in [tenant.id for tenant in list_tenants(session)]
    assert "a legal hold keeps 1 of its images and videos" in reported[0]
