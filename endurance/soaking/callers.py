"""Callers of a soak test: threads and tasks that run random scenarios, and count outcomes."""

import asyncio
import random
import threading
from collections import Counter

import grpc.aio

from endurance.soaking.scenarios import ASYNC_SCENARIOS, SCENARIOS
from vitrine.client import AsyncClient, Client, VitrineError


class Callers:
    """Callers of one server, and their outcomes.

    Args:
        target: the server's HOST:PORT.
        seed: seed of the order of scenarios.
    """

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._seed = seed
        self.outcomes: Counter[str] = Counter()
        """Calls by scenario and outcome."""
        self.unexpected: Counter[str] = Counter()
        """Errors by scenario and message."""
        self.enough = threading.Event()
        """Set to end all callers."""

    def call_from_thread(self, number: int) -> None:
        """One thread that runs synchronous scenarios until `enough`."""
        rng = random.Random(self._seed + number)
        with Client(self._target) as client:
            while not self.enough.is_set():
                scenario = rng.choice(SCENARIOS)
                try:
                    scenario(client)
                    self._count(scenario.__name__, None)
                except (VitrineError, AssertionError) as error:
                    self._count(scenario.__name__, error)

    async def call_from_tasks(self, tasks: int) -> None:
        """Tasks that run asynchronous scenarios until `enough`."""
        await asyncio.gather(*(self._call_from_task(number) for number in range(tasks)))

    async def _call_from_task(self, number: int) -> None:
        rng = random.Random(self._seed - 1 - number)
        async with AsyncClient(self._target) as client, grpc.aio.insecure_channel(self._target) as channel:
            while not self.enough.is_set():
                scenario = rng.choice(ASYNC_SCENARIOS)
                try:
                    await scenario(client, channel)
                    self._count(scenario.__name__, None)
                except (VitrineError, grpc.aio.AioRpcError, AssertionError) as error:
                    self._count(scenario.__name__, error)

    def _count(self, scenario: str, error: Exception | None) -> None:
        if error is None:
            self.outcomes[f"{scenario}: as expected"] += 1
            return
        self.outcomes[f"{scenario}: {type(error).__name__}"] += 1
        self.unexpected[f"{scenario}: {error!r}"] += 1
