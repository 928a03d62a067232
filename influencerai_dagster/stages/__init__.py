"""One module per stage of the pipeline.

Plain functions over domain, catalog, storage, media and engines.
"""
