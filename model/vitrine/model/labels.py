"""The labels of classes as people see them: when two look the same, and how a long one is shortened.

It knows no model and no figure.
"""

import unicodedata
from collections.abc import Iterable


def find_same(labels: Iterable[str]) -> tuple[str, str] | None:
    """Two labels that look the same: equal in Unicode's form NFC, without spaces at their ends; None without any."""
    seen: dict[str, str] = {}
    for label in labels:
        key = unicodedata.normalize("NFC", label).strip()
        if key in seen:
            return seen[key], label
        seen[key] = label
    return None


def shorten(text: str, length: int) -> str:
    """The text; with more than `length` characters, its beginning and its end, because labels often begin alike."""
    tail = (length - 1) // 2
    return text if len(text) <= length else f"{text[: length - 1 - tail]}…{text[-tail:]}"
