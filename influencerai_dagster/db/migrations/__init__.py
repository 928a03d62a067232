"""Keep the history of the catalog's tables, run by `db/migrate.py`.

A change of models/ gets one new file in `versions/`, written by hand, named
`NNNN_what.py`; files that were released are never edited. A test compares the result with the
models.
"""
