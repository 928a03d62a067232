"""Define assets, checks and sensors from uploaded photos to LoRA weights and their samples."""
