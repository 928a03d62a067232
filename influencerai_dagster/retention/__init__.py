"""Delete what tenants no longer need, except what a legal hold keeps."""
