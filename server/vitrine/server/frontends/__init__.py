"""Carries bytes and metadata between callers and protocols, one transport per folder. It knows no message's meaning."""

from typing import Protocol


class Frontend(Protocol):
    """A way into the service: bound to its address when it is made, and answering from `start` on."""

    @property
    def address(self) -> str:
        """HOST:PORT that it listens on, with the port that was taken."""

    async def start(self) -> None:
        """Starts to answer."""

    async def drain(self, seconds: float) -> None:
        """Takes no new requests, lets those under way finish for up to `seconds`, then ends the rest."""

    async def failed(self) -> str:
        """Waits until it has ended without being drained; gives the cause in a word."""
