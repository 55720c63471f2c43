"""Text in Markdown pages. It knows no page."""

import re

_FORMATTING = re.compile(r"[\\`*\[\]<>|~$&]|(?<![^\W_])_|_(?![^\W_])")
"""Characters that format; of underscores only those at the ends of a word do."""


def plain_markdown(text: str) -> str:
    """Markdown that shows a text as it is: its punctuation doesn't format, and doesn't end a table's cell."""
    return _FORMATTING.sub(r"\\\g<0>", text)
