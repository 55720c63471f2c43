"""Sends bad input to one server and watches it: it must stay alive, keep answering, and release what it held."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import grpc.aio
import numpy as np
import numpy.typing as npt

from benchmarks.harness.processes import Usage
from benchmarks.harness.servers import OWN_CONNECTION, LoggedServer
from endurance.fuzzing import malformed_grpc
from endurance.fuzzing.corpus import CLASSIFY, files
from endurance.fuzzing.kinds import KINDS
from endurance.fuzzing.outcomes import Outcome, Tally
from vitrine.model import TOLERANCE
from vitrine.v1 import classifier_pb2 as pb

CHANNELS = 4
CHECK_SECONDS = 0.2
PATIENCE_SECONDS = 30
"""Time for an answer to a valid request, and for the server to release what it held."""


@dataclass
class Report:
    """Outcomes of one kind, and the server's resources after it."""

    kind: str
    tally: Tally
    seconds: float
    usage: Usage


@dataclass
class Health:
    """Observations of a caller with valid requests, during the attacks."""

    answered: int = 0
    longest_seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """A line for each request that failed or got a wrong answer."""


class Campaign:
    """Attacks on one server; created and used on one event loop.

    Args:
        server: the server under test.
        seed: seed of all attacks.
    """

    def __init__(self, server: LoggedServer, seed: int) -> None:
        self._server = server
        self._seed = seed
        self._http_target = server.http_target
        self._numbers = {kind: itertools.count() for kind in KINDS}
        self._checking: grpc.aio.Channel | None = None
        self._first: npt.NDArray[np.float32] | None = None
        self.health = Health()

    async def run(self, kind: str, messages: int) -> Report:
        """Sends messages of a kind, and waits until the server has released what they took.

        The next run sends others, since attacks are numbered. A valid request follows them: its answer shows that no
        attack waits in a queue any more.
        """
        before, begin, tally = self._server.usage(), time.monotonic(), Tally()
        async with self._channels() as channels:
            senders = (self._send(kind, tally, messages, channel) for channel in channels)
            await asyncio.gather(*senders)
            await self._check(channels[0])
        usage = await self.settled(before)
        return Report(kind, tally, time.monotonic() - begin, usage)

    async def replay(self, kind: str, number: int) -> Outcome:
        """Sends one attack again, by its number."""
        async with grpc.aio.insecure_channel(self._server.target) as channel:
            return await self._attack(kind, number, channel)

    @asynccontextmanager
    async def checked(self) -> AsyncIterator[None]:
        """Sends valid requests and checks their answers during the block, and once at its end."""
        async with grpc.aio.insecure_channel(self._server.target, OWN_CONNECTION) as channel:
            await self._check(channel)
            self._checking = channel
            checking = asyncio.ensure_future(self._keep_checking(channel))
            try:
                yield
            finally:
                checking.cancel()
                await asyncio.wait([checking])
                self._checking = None
            await self._check(channel)

    @asynccontextmanager
    async def _channels(self) -> AsyncIterator[list[grpc.aio.Channel]]:
        opened = [grpc.aio.insecure_channel(self._server.target, OWN_CONNECTION) for _ in range(CHANNELS)]
        try:
            yield opened
        finally:
            await asyncio.gather(*(channel.close() for channel in opened))

    async def _send(self, kind: str, tally: Tally, messages: int, channel: grpc.aio.Channel) -> None:
        """Attacks over one channel until the tally has enough messages, several at a time."""

        async def one_after_the_other() -> None:
            while tally.messages < messages and self._server.alive:
                number = next(self._numbers[kind])
                outcome = await self._attack(kind, number, channel)
                tally.note(number, outcome, KINDS[kind].allowed)

        await asyncio.gather(*(one_after_the_other() for _ in range(max(1, KINDS[kind].concurrency // CHANNELS))))

    async def _attack(self, kind: str, number: int, channel: grpc.aio.Channel) -> Outcome:
        rng, send = Random(f"{self._seed} {kind} {number}"), KINDS[kind]
        if send.over_channel is not None:
            return await send.over_channel(channel, rng)
        try:
            if send.over_http is not None:
                return await send.over_http(self._http_target, rng)
            assert send.over_socket is not None
            outcome = await send.over_socket(self._server.target, rng)
        except ConnectionError:  # senders that don't handle it themselves
            outcome = Outcome("reset")
        return await self._answered_after(outcome, rng) if send.then_answers else outcome

    async def _answered_after(self, outcome: Outcome, rng: Random) -> Outcome:
        """The outcome, if a valid call behind the attack is answered; otherwise `no answer`."""
        good = await malformed_grpc.send_good_call(self._server.target, rng)
        return outcome if good.name == "OK" else Outcome("no answer", f"after it: {good.name}, {good.text}")

    async def settled(self, before: Usage) -> Usage:
        """Resources once open files are down to `before`, or after `PATIENCE_SECONDS`."""
        if self._checking and self._server.alive:  # its connection counts
            with suppress(TimeoutError):  # the server may have ended
                await asyncio.wait_for(self._checking.channel_ready(), PATIENCE_SECONDS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (usage := self._server.usage()).files > before.files and time.monotonic() < deadline:
            await asyncio.sleep(CHECK_SECONDS)
        return usage

    async def _keep_checking(self, channel: grpc.aio.Channel) -> None:
        while True:
            await self._check(channel)
            await asyncio.sleep(CHECK_SECONDS)

    async def _check(self, channel: grpc.aio.Channel) -> None:
        """Sends one valid request; its answer must equal the first one's."""
        begin = time.monotonic()
        try:
            answer = await _good_answer(channel)
        except grpc.aio.AioRpcError as error:
            self.health.wrong.append(f"{error.code().name}: {error.details()}")
            return
        self.health.answered += 1
        self.health.longest_seconds = max(self.health.longest_seconds, time.monotonic() - begin)
        self._compare(answer)

    def _compare(self, answer: pb.ClassifyResponse) -> None:
        values = np.frombuffer(answer.probabilities.data, "<f4")
        if self._first is None:
            self._first = values
        if values.shape != self._first.shape or not np.allclose(values, self._first, atol=TOLERANCE):
            self.health.wrong.append(f"the answer differs from the first: {values}")


async def _good_answer(channel: grpc.aio.Channel) -> pb.ClassifyResponse:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[files()["PNG"]]))
    call = channel.unary_unary(CLASSIFY, pb.ClassifyRequest.SerializeToString, pb.ClassifyResponse.FromString)
    answer: pb.ClassifyResponse = await call(request, timeout=PATIENCE_SECONDS)
    return answer
