"""The schema: every table of the catalog, one module per subject."""
