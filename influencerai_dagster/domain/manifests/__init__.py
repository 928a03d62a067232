"""The JSON manifests on S3: one pydantic model per stage; published last, they say which bytes belong together."""
