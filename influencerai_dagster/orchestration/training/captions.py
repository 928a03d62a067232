"""Asset `captions`: one caption per image. How one is found lives in training/captions.py."""

from collections import Counter

import dagster as dg

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.captions import CaptionsManifest
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import influencer_of_dataset
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, table
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import CaptionerResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.training.captions import CaptionSettings, write_captions


@dg.asset(
    partitions_def=dataset_partitions,
    group_name="datasets",
    kinds={"s3", "python"},
    owners=[OWNER],
    code_version="1",
)
def captions(
    context: dg.AssetExecutionContext,
    dataset: DatasetManifest,
    object_store: ObjectStoreResource,
    catalog: CatalogResource,
    captioner: CaptionerResource,
) -> dg.MaterializeResult[CaptionsManifest]:
    """One caption for every image of the dataset, the trigger phrase first, and who wrote it.

    An uploaded `img001.txt` wins; else the auto-captioner (ENABLE_AUTO_CAPTIONS); else the class
    caption of the influencer. One partition is one dataset of one tenant. Rerun it after the
    influencer's trigger phrase or the captioner changed.
    """
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        key = DatasetKey.parse(context.partition_key)
        with transaction(catalog.engine) as session:
            influencer = influencer_of_dataset(session, key.tenant, key.dataset)
        answers = captioner.response_cache(catalog.engine, key.tenant, context.run.run_id)
        program, source = captioner.captioner(answers)
        if influencer is None:
            context.log.warning(
                f"no influencer of tenant {key.tenant} has dataset {key.dataset}: its name is the "
                "trigger phrase. Add one with `influencerai influencer add`."
            )
        settings = CaptionSettings(
            trigger_phrase=influencer.trigger_phrase if influencer else key.dataset,
            class_caption=influencer.class_caption if influencer else "person",
            captioner=program,
            captioner_source=source,
        )
        manifest = write_captions(object_store, dataset, settings)
        num_kept = answers.num_found if answers else 0
        if num_kept:
            context.log.info(f"{num_kept} captions were paid for before and are not asked again")
        for image in manifest.refused:
            context.log.warning(f"{image.file_name} has the class caption: {image.why}")
        return dg.MaterializeResult(
            value=manifest,
            metadata={
                "captions": len(manifest.captions),
                "trigger_phrase": manifest.trigger_phrase,
                "sources": dict(Counter(item.source.value for item in manifest.captions)),
                "captions_paid_for_before": num_kept,
                "refused": table([item.model_dump(mode="json") for item in manifest.refused]),
                "sample": table([item.model_dump(mode="json") for item in manifest.captions]),
            },
            data_version=dg.DataVersion(manifest.version),
        )
