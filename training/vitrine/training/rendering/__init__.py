"""Generated images: images without a digit, and digits rendered as photos, scans and drawings."""
