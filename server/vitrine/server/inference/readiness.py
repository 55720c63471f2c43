"""Readiness of the service: it starts, takes requests, and leaves. Health and the open protocol show it."""

import asyncio
from collections.abc import Callable


class Readiness:
    """The state of the service: starting, ready or leaving. Everything happens on the event loop's thread."""

    def __init__(self) -> None:
        self._started = False
        self._leaving = False
        self._changed = asyncio.Event()
        self._observers: list[Callable[[bool], None]] = []

    @property
    def ready(self) -> bool:
        """The service has started, and isn't leaving."""
        return self._started and not self._leaving

    @property
    def leaving(self) -> bool:
        """The service is leaving, for good."""
        return self._leaving

    @property
    def changed(self) -> asyncio.Event:
        """An event that the next change sets. Take it before reading the state, so that no change is missed."""
        return self._changed

    def observe(self, tell: Callable[[bool], None]) -> None:
        """Calls `tell` at every change, with whether the service takes requests. It must not raise."""
        self._observers.append(tell)

    def start(self) -> None:
        """Declares the service ready."""
        self._started = True
        self._wake()

    def leave(self) -> None:
        """Declares that the service leaves. It answers on, so that load balancers can turn to other servers."""
        self._leaving = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for tell in self._observers:
            tell(self.ready)
