"""The data assets of the pipeline, one module per stage."""
