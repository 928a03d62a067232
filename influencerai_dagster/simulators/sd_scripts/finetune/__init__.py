"""Simulate the captioning tools that come with sd-scripts."""
