"""Results as text, in one format for all endurance tests."""

from collections.abc import Mapping
from typing import Any


def as_lines(figures: Mapping[str, Any]) -> str:
    """A line for each value, and for each entry of a nested mapping."""
    lines = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            lines += [f"{name:<30} {key}: {_text(entry)}" for key, entry in value.items()]
        else:
            lines.append(f"{name:<30} {_text(value)}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return f"{value:,.2f}" if isinstance(value, float) else str(value)
