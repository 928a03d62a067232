"""Turn uploaded photos into LoRA weights: datasets, captions, recipes, trainings."""
