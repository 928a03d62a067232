"""Keep objects and manifests on S3, under write-once and checksum rules.

What a key means lives in core/object_paths.py.
"""
