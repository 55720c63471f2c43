"""Training examples: augmentation, counter-examples, and batches with or without a teacher's logits."""
