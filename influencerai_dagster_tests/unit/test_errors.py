"""The error tree: callers choose by class between trying again and telling a person."""

from influencerai_dagster.errors import (
    InsufficientStorageError,
    ObjectNotFoundError,
    PermanentError,
    TransientError,
)


def test_a_full_disk_is_tried_again_and_a_lost_object_is_not() -> None:
    assert issubclass(InsufficientStorageError, TransientError)
    assert issubclass(ObjectNotFoundError, PermanentError)


def test_no_error_is_both_passing_and_permanent() -> None:
    assert not issubclass(TransientError, PermanentError)
    assert not issubclass(PermanentError, TransientError)
