"""Fine-tuning a classifier: augmented batches, the loop, the teachers."""
