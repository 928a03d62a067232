"""What speaks HTTP for tenants and their developers; it asks Dagster over HTTP, too."""
