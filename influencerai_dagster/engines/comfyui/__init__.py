"""Speak ComfyUI's HTTP and WebSocket protocol, and fill the workflow templates sent to it."""
