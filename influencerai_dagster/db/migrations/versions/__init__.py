"""One file per change, in order of its number."""
