"""Training: from uploaded photos to LoRA weights."""
