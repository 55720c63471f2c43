"""Tables for a terminal and for Markdown. It knows no meaning of their content."""

from collections.abc import Sequence
from dataclasses import dataclass

from vitrine.training.markdown import plain_markdown


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a header. The first column is left-aligned, all others right-aligned."""

    header: Sequence[str]
    """Column titles."""
    rows: Sequence[Sequence[str]]
    """Rows, each as long as the header."""

    def to_text(self) -> str:
        """Plain text with columns two spaces apart."""
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = []
        for name, *figures in (self.header, *self.rows):
            cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths[1:], strict=True)]
            lines.append("  ".join([f"{name:<{widths[0]}}", *cells]))
        return "\n".join(lines)

    def to_markdown(self) -> str:
        """A Markdown table, the rows' texts as they are."""
        rule = ["---", *("---:" for _ in self.header[1:])]
        rows = ([plain_markdown(text) for text in row] for row in self.rows)
        return "\n".join(f"| {' | '.join(row)} |" for row in (self.header, rule, *rows))
