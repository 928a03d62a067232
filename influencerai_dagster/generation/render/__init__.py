"""Renders one job on ComfyUI and stores the file with its manifest."""
