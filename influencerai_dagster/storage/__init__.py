"""S3: the object store with its write-once and checksum rules, and manifests.

What a key means lives in core/object_paths.py.
"""
