"""The model that ships with the server."""

from pathlib import Path


def bundled_model() -> Path:
    """The path of its file."""
    return Path(__file__).with_name("digits.onnx")
