"""The labels of classes as people see them: when two look the same, and how a long one is shortened.

It knows no model and no figure.
"""


def shorten(text: str, length: int) -> str:
    """The text; with more than `length` characters, its beginning and its end, because labels often begin alike."""
    tail = (length - 1) // 2
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[-tail:]}"
