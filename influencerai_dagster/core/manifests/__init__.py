"""The JSON manifests on S3.

One pydantic model per stage; published last, they say which bytes belong together.
"""
