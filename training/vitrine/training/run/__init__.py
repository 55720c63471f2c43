"""One training run: from its settings to a complete run folder, resumable after every epoch."""
