"""Tables, for a terminal and for Markdown. It knows words in rows, and not what they mean."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of words under a header; the first column names the row, the others are figures."""

    header: Sequence[str]
    """What the columns are."""
    rows: Sequence[Sequence[str]]
    """The rows, each as long as the header."""

    def to_text(self) -> str:
        """Columns two spaces apart: names to the left, figures to the right."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for name, *figures in (self.header, *self.rows):
            cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths[1:], strict=True)]
            lines.append("  ".join([f"{name:<{widths[0]}}", *cells]))
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """As GitHub has it."""
        rule = ["---", *("---:" for _ in self.header[1:])]
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows))
