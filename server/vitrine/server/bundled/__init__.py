"""The model that ships with the server."""

from pathlib import Path


def bundled_model() -> Path:
    """Where its file is."""
    return Path(__file__).with_name("digits.onnx")
