"""Turns: callers share a number of places, so that one caller's work holds up no other's.

It knows names, and neither images nor threads. Everything happens on the event loop's thread.
"""

import asyncio
from collections import Counter
from typing import TypeAlias

Waiting: TypeAlias = "asyncio.Future[None]"


class Turns:
    """Places at work, which callers take in turns.

    Args:
        places: the places.
        share: the places that one caller may have at once.
    """

    def __init__(self, places: int, share: int) -> None:
        self._free = places
        self._share = share
        self._inside: Counter[str] = Counter()
        self._waiting: dict[str, dict[Waiting, None]] = {}  # both in the order of their next turns

    async def enter(self, caller: str) -> None:
        """Takes a place, which `leave` gives back; waits until it is the caller's turn."""
        place: Waiting = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, {})[place] = None
        self._fill()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given at the same moment
                self.leave(caller)
            else:
                self._forget(caller, place)
            raise

    def leave(self, caller: str) -> None:
        """Gives a caller's place back."""
        self._free += 1
        self._inside[caller] -= 1
        if not self._inside[caller]:
            del self._inside[caller]
        self._fill()

    def _fill(self) -> None:
        """Gives the free places to those who wait, one to each caller in turn."""
        while self._free and (caller := self._next()) is not None:
            queue = self._waiting.pop(caller)
            place = next(iter(queue))
            del queue[place]
            if queue:
                self._waiting[caller] = queue  # behind the others
            if not place.done():  # or it has gone
                self._free -= 1
                self._inside[caller] += 1
                place.set_result(None)

    def _forget(self, caller: str, place: Waiting) -> None:
        """Lets go of one that waits no more, if it hasn't been passed over already."""
        queue = self._waiting.get(caller, {})
        queue.pop(place, None)
        if not queue:
            self._waiting.pop(caller, None)

    def _next(self) -> str | None:
        return next((caller for caller in self._waiting if self._inside[caller] < self._share), None)
