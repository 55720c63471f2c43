"""Image → pixels: the one function `prepare` and its steps."""
