"""A small dataset and trainings of it."""

from influencerai_dagster_tests.testing.kohya_trainings import image_dir, make_training

__all__ = ["image_dir", "make_training"]
