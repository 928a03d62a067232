"""Measures and draws files.

Images, safetensors, contact sheets, plots. Who asked for them lives in stages/.
"""
