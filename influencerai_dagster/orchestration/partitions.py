"""The two dynamic partition sets of the project. What a key means lives in domain/keys.py."""

import dagster as dg

dataset_partitions = dg.DynamicPartitionsDefinition(name="datasets")
"""One partition per `<tenant>/<dataset>`, added by the upload sensor."""

content_day_partitions = dg.DynamicPartitionsDefinition(name="content_days")
"""One partition per `<tenant>/<YYYY-MM-DD>` (UTC), added by the pending-jobs sensor or a caller."""
