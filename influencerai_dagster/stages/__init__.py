"""One module per stage of the pipeline: plain functions over domain, catalog, storage, media and engines."""
