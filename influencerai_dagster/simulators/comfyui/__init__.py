"""Simulate a ComfyUI server that draws with Pillow.

Run it with `python -m influencerai_dagster.simulators.comfyui --help`.

It answers as ComfyUI 0.3.64 was recorded to answer (tests compare it with the recordings), with
the core nodes that the shipped workflows use. Every image says SIMULATED in its pixels. Faults
are provoked over POST /simulator/faults; GET /simulator/stats tells what was executed how often.
"""
