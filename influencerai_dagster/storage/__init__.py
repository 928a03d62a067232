"""S3.

The object store with its write-once and checksum rules. What a key means lives in
domain/object_paths.py.
"""
