"""Render one job on ComfyUI and store the file with its manifest."""
