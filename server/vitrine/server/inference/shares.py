"""Shares of something limited, such as bytes or images under way: no caller can take all of it from the others.

The rule is that of dynamic thresholds (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
switches", 1998): a caller may hold up to `FACTOR` times what is free. One caller alone gets 7/8 of the whole, two get
7/15 each, and a caller that comes later always finds something free.
"""

FACTOR = 7
"""A caller's largest part, as a multiple of what stays free."""


class Shares:
    """What each caller holds of a whole. Everything happens on the event loop's thread.

    Args:
        whole: the limit of all callers together.
    """

    __slots__ = ("_of", "_whole", "held", "plenty")

    def __init__(self, whole: int) -> None:
        self._whole = whole
        self.plenty = whole * FACTOR // (FACTOR + 1)
        """As long as all callers together hold no more than this, any amount fits and is fair."""
        self._of: dict[str, int] = {}
        self.held = 0
        """What all callers hold together."""

    def fits(self, amount: int) -> bool:
        """So much is free."""
        return self.held + amount <= self._whole

    def is_fair(self, caller: str, amount: int) -> bool:
        """A caller may take so much: it holds nothing yet, or leaves enough to the others."""
        own = self._of.get(caller, 0)
        return not own or own + amount <= FACTOR * (self._whole - self.held - amount)

    def take(self, caller: str, amount: int) -> None:
        """Counts an amount as a caller's."""
        self.held += amount
        self._of[caller] = self._of.get(caller, 0) + amount

    def give_back(self, caller: str, amount: int) -> None:
        """Counts an amount as free again."""
        self.held -= amount
        left = self._of.get(caller, 0) - amount
        if left:
            self._of[caller] = left
        else:
            self._of.pop(caller, None)
