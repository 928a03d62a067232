"""Media files: measure, decode and draw images, read model files."""
