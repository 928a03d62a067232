"""A small dataset and trainings of it."""

from influencerai_dagster_tests.testing.kohya_trainings import (
    contract_training,
    image_dir,
    make_training,
)

__all__ = ["contract_training", "image_dir", "make_training"]
