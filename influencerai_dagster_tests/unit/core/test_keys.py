"""Partition keys: what is accepted comes back the same, and nothing hostile is accepted."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from influencerai_dagster.core.keys import DatasetKey, DayKey, check_part, parse_day, today
from influencerai_dagster.errors import PermanentError
from influencerai_dagster_tests.testing.hostile_names import HOSTILE_NAMES

parts = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,62}", fullmatch=True)
hostile = pytest.mark.parametrize("name", HOSTILE_NAMES.values(), ids=HOSTILE_NAMES)


@given(parts, parts)
def test_a_dataset_key_comes_back_from_its_partition_key(tenant: str, dataset: str) -> None:
    key = DatasetKey(tenant, dataset)
    assert DatasetKey.parse(str(key)) == key


@given(parts, st.dates())
def test_a_day_key_comes_back_from_its_partition_key(tenant: str, day: date) -> None:
    key = DayKey(tenant, day)
    assert DayKey.parse(str(key)) == key


@given(st.one_of(st.text(), st.text(alphabet="ab/.\\\0\n%-_", max_size=8)))
def test_an_accepted_part_is_one_plain_name(name: str) -> None:
    try:
        check_part(name, "tenant")
    except PermanentError:
        return
    assert name.isascii()
    assert name.replace("-", "").replace("_", "").isalnum()
    assert name.lower() == name
    assert 1 <= len(name) <= 63


@given(st.text())
def test_an_accepted_partition_key_has_one_spelling(text: str) -> None:
    for kind in (DatasetKey, DayKey):
        try:
            key = kind.parse(text)
        except PermanentError:
            continue
        assert str(key) == text


@hostile
def test_a_hostile_tenant_is_refused_by_name(name: str) -> None:
    with pytest.raises(PermanentError, match=r"tenant name .* is not allowed: use 1 to 63"):
        DatasetKey(name, "bella")
    with pytest.raises(PermanentError, match=r"tenant name .* is not allowed: use 1 to 63"):
        DayKey(name, date(2026, 11, 23))


@hostile
def test_a_hostile_dataset_is_refused_by_name(name: str) -> None:
    with pytest.raises(PermanentError, match=r"dataset name .* is not allowed: use 1 to 63"):
        DatasetKey("demo", name)


@hostile
def test_a_hostile_part_of_a_partition_key_is_refused(name: str) -> None:
    for key in (f"{name}/bella", f"demo/{name}", name):
        with pytest.raises(PermanentError):
            DatasetKey.parse(key)
        with pytest.raises(PermanentError):
            DayKey.parse(key)


@pytest.mark.parametrize("key", ["demo", "demo/bella/x", "demo//bella", "a/../b/x", "", "/"])
def test_a_partition_key_of_another_form_is_refused(key: str) -> None:
    with pytest.raises(PermanentError):
        DatasetKey.parse(key)


def test_an_error_shows_only_the_start_of_a_long_name() -> None:
    with pytest.raises(PermanentError) as caught:
        check_part("a" * 10_000, "tenant")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "text",
    [
        *("2026-02-29", "2026-13-01", "2026-00-10", "0000-01-01"),
        *("tomorrow", "", "20261123", "2026-W48-1", "2026-1-2", "2026-11-23T00:00", "23.11.2026"),
        *("2026-11-23\n", " 2026-11-23", "٢٠٢٦-11-23", "2026-11-23/..", "2026-11-23\0"),
    ],
)
def test_a_date_that_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(PermanentError, match="is not a date: use YYYY-MM-DD"):
        parse_day(text)
    with pytest.raises(PermanentError):
        DayKey.parse(f"demo/{text}")


def test_a_leap_day_is_a_date() -> None:
    assert parse_day("2028-02-29") == date(2028, 2, 29)


def test_today_is_the_day_in_utc() -> None:
    before = datetime.now(UTC).date()
    assert before <= today() <= datetime.now(UTC).date()
