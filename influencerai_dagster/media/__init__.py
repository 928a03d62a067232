"""Measures and draws files: images, safetensors, contact sheets, plots. Who asked for them lives in stages/."""
