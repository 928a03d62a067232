"""From uploaded photos to LoRA weights: datasets, captions, recipes, training."""
