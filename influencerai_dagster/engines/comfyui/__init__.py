"""ComfyUI: its HTTP and WebSocket protocol and the workflow templates that are sent to it."""
