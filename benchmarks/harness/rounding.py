"""Rounds what was measured, before it is written."""

from typing import Any


def rounded(value: Any) -> Any:
    """The same with numbers of five significant digits: more would be noise."""
    if isinstance(value, dict):
        return {name: rounded(of_it) for name, of_it in value.items()}
    if isinstance(value, list):
        return [rounded(of_it) for of_it in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
