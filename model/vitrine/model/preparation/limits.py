"""Limits of the images that are decoded. It loads neither numpy nor Pillow, for those who only read settings."""

MAX_IMAGE_PIXELS = 52_000_000
"""The largest width × height that is decoded: a larger one could fill the memory from a few bytes on disk. Cameras of
"50 megapixels" have up to 51.3 million."""

MOST_IMAGE_PIXELS = 178_000_000
"""The highest limit that can be set: Pillow refuses larger images itself."""
