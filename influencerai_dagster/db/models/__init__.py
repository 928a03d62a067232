"""Define the schema: every table of the catalog, one module per subject."""
