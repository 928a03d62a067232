"""Asset checks, one module per stage.

Claims about what was made, blocking where the next stage would waste GPU time.
"""
