"""The captioning tools that come with sd-scripts, simulated."""
