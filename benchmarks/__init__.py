"""Ratios of our code to a stated baseline, both measured in one run: `python -m benchmarks`.

Slowness is a figure to read, never a failure. What the figures mean is in docs/benchmarks.md.
"""
