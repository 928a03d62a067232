"""Define the manifests: the JSON objects on S3 that say which bytes belong together.

One pydantic model per stage. storage/manifests.py publishes them, after the bytes that they name.
"""
