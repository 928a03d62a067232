"""IO managers: how an asset's value is kept on S3 and checked when it is loaded."""
