"""Order and tag runs in the queue, and back off after lost ones."""
