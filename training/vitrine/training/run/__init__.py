"""One training run from its config to the finished run folder, resumable at every epoch."""
