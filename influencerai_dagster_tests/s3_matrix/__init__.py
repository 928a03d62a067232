"""`make s3-matrix`: the object store's tests and more questions, asked of many S3 servers."""
