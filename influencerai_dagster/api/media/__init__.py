"""Images and videos of a tenant."""
