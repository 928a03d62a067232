"""Proves that what was restored is whole, and repairs the objects that are not."""
