"""Define the two sets of dynamic partitions; core/keys.py parses their keys."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from influencerai_dagster.core.dagster_names import DATASET_PARTITIONS, DAY_PARTITIONS

dataset_partitions = dg.DynamicPartitionsDefinition(name=DATASET_PARTITIONS)
"""One partition per `<tenant>/<dataset>`, added by the upload sensor."""

content_day_partitions = dg.DynamicPartitionsDefinition(name=DAY_PARTITIONS)
"""One partition per `<tenant>/<YYYY-MM-DD>` (UTC), added by the pending-jobs sensor or a caller."""


@contextmanager
def kept_partition(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    partitions: dg.DynamicPartitionsDefinition,
) -> Iterator[None]:
    """Add the run's partition again at the end of the block, in case it was deleted meanwhile.

    Dagster does not store the output of a partition that is not in its set: the work would be lost.
    """
    yield
    context.instance.add_dynamic_partitions(str(partitions.name), [context.partition_key])
