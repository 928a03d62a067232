"""Define the two dynamic partition sets. What a key means lives in core/keys.py."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

PARTITION_TAG = "dagster/partition"
"""The tag in which Dagster gives a run its partition key."""

dataset_partitions = dg.DynamicPartitionsDefinition(name="datasets")
"""One partition per `<tenant>/<dataset>`, added by the upload sensor."""

content_day_partitions = dg.DynamicPartitionsDefinition(name="content_days")
"""One partition per `<tenant>/<YYYY-MM-DD>` (UTC), added by the pending-jobs sensor or a caller."""


@contextmanager
def kept_partition(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    partitions: dg.DynamicPartitionsDefinition,
) -> Iterator[None]:
    """Add the run's partition again at the end of the block, if it was deleted meanwhile.

    Dagster stores no output of a partition that is not in its set: the work would be done and lost.
    """
    yield
    context.instance.add_dynamic_partitions(str(partitions.name), [context.partition_key])
