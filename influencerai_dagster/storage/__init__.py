"""S3.

The object store with its write-once and checksum rules. What a key means lives in
core/object_paths.py.
"""
