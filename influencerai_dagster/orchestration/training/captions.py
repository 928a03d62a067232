"""Asset `captions`: one caption per image. How one is found lives in training/captions.py."""

import dagster as dg

from influencerai_dagster.core.keys import DatasetKey
from influencerai_dagster.core.manifests.captions import CaptionsManifest, CaptionSource
from influencerai_dagster.core.manifests.dataset import DatasetManifest
from influencerai_dagster.db.engine import transaction
from influencerai_dagster.db.tenants import influencer_of_dataset
from influencerai_dagster.orchestration.failures import dagster_failures
from influencerai_dagster.orchestration.metadata import OWNER, stored_metadata
from influencerai_dagster.orchestration.partitions import dataset_partitions, kept_partition
from influencerai_dagster.orchestration.resources.catalog import CatalogResource
from influencerai_dagster.orchestration.resources.engines import CaptionerResource
from influencerai_dagster.orchestration.resources.object_store import ObjectStoreResource
from influencerai_dagster.orchestration.training.metadata import captions_metadata
from influencerai_dagster.training.captions import Captioner, CaptionSettings, write_captions


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

    Made from the dataset. An uploaded `img001.txt` wins; otherwise the auto-captioner
    (ENABLE_AUTO_CAPTIONS) describes the image; otherwise it gets the class caption of the
    influencer. One partition is one dataset of one tenant. Rerun it after the influencer's trigger
    phrase or the captioner changed.
    """
    with dagster_failures(context.retry_number), kept_partition(context, dataset_partitions):
        key = DatasetKey.parse(context.partition_key)
        cache = captioner.response_cache(catalog.engine, key.tenant, context.run.run_id)
        program, source = captioner.captioner(cache)
        settings = _settings(context, catalog, key, program, source)
        published = write_captions(object_store, dataset, settings)
        num_cache_hits = cache.num_hits if cache else 0
        if num_cache_hits:
            context.log.info(f"{num_cache_hits} captions came from the response cache")
        for image in published.manifest.refused:
            context.log.warning(f"{image.file_name} has the class caption: {image.why}")
        return dg.MaterializeResult(
            value=published.manifest,
            metadata={
                **captions_metadata(published.manifest, num_cache_hits=num_cache_hits),
                **stored_metadata(published.stored),
            },
            data_version=dg.DataVersion(published.manifest.version),
        )


def _settings(
    context: dg.AssetExecutionContext,
    catalog: CatalogResource,
    key: DatasetKey,
    program: Captioner | None,
    source: CaptionSource,
) -> CaptionSettings:
    """Return how captions are made for the influencer that the dataset shows."""
    with transaction(catalog.engine) as session:
        influencer = influencer_of_dataset(session, key.tenant, key.dataset)
    if influencer is None:
        context.log.warning(
            f"no influencer of tenant {key.tenant} has dataset {key.dataset}: its name is the "
            "trigger phrase. Add one with `influencerai influencer add`."
        )
    return CaptionSettings(
        trigger_phrase=influencer.trigger_phrase if influencer else key.dataset,
        class_caption=influencer.class_caption if influencer else "person",
        captioner=program,
        captioner_source=source,
    )
