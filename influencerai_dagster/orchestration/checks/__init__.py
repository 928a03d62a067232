"""Asset checks, one module per stage: claims about what was made, blocking where the next stage would waste GPU time."""
