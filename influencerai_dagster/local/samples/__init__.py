"""Sample photos of one drawn character for `make demo`, and the program that draws them."""

from pathlib import Path

BELLA_DIR = Path(__file__).parent / "bella"
"""Photos, captions and rights of one dataset, as a tenant would upload them."""
