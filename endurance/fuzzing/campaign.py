"""Sends every kind of bad input to one server, and watches it: is it alive, does it answer, does it give back?"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from random import Random

import grpc.aio
import numpy as np
import numpy.typing as npt

from benchmarks.harness.processes import Usage
from benchmarks.harness.servers import OWN_CONNECTION, LoggedServer
from endurance.fuzzing import calls, lingering, rubbish, verdict
from endurance.fuzzing.corpus import CLASSIFY, files
from endurance.fuzzing.restarts import EXCUSED, WHOLE_SECONDS, Restarts
from endurance.fuzzing.verdict import Outcome, Tally
from vitrine.model import TOLERANCE
from vitrine.v1 import classifier_pb2 as pb

CHANNELS = 4
FLOODS_AT_ONCE = 8
"""With 1,000 calls of each, they stay below what may wait to be taken up before core cancels anybody's calls."""

CHECK_SECONDS = 0.2
RETRY_SECONDS = 5.0
"""How long a good caller tries again while gRPC's part of the server restarts."""

PATIENCE_SECONDS = 30
"""How long an answer to a good request may take, and how long the server may take to give back what it held."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bad input."""

    share: float
    """How much of all messages it makes."""
    width: int
    """How many attacks are under way at once."""
    expected: Collection[str]
    """What may come of them."""
    over_channel: Callable[[grpc.aio.Channel, Random], Awaitable[Outcome]] | None = None
    """What sends one through gRPC."""
    over_socket: Callable[[str, Random], Awaitable[Outcome]] | None = None
    """What sends one to HOST:PORT otherwise."""
    then_answers: bool = False
    """Whether a good call behind each must be answered."""


KINDS: Mapping[str, Kind] = {
    "messages": Kind(0.62, 128, verdict.REFUSED, over_channel=calls.send_message),
    "images": Kind(0.12, 64, verdict.REFUSED, over_channel=calls.send_image),
    "streams": Kind(0.18, 64, verdict.REFUSED, over_channel=calls.send_stream),
    "neighbours": Kind(0.03, 64, verdict.NEIGHBOURS, over_channel=calls.send_to_neighbours),
    "rubbish": Kind(0.02, 64, verdict.TURNED_OUT, over_socket=rubbish.send_rubbish),
    "floods": Kind(0.0003, FLOODS_AT_ONCE, verdict.FLOODED, over_socket=rubbish.send_flood, then_answers=True),
    "faulty calls": Kind(0.015, 64, verdict.FAULTY, over_socket=rubbish.send_faulty_call),
    "abandoned streams": Kind(0.0112, 16, verdict.LEFT, over_socket=lingering.abandon_streams),
    "slow readers": Kind(0.0005, 32, verdict.LEFT, over_socket=lingering.read_slowly),
    "silent connections": Kind(0.003, 32, verdict.LEFT, over_socket=lingering.say_nothing),
}
"""All of them; the shares add up to one."""


@dataclass
class Report:
    """What came of one kind, and what the server held after it."""

    kind: str
    tally: Tally
    seconds: float
    usage: Usage


@dataclass
class Health:
    """What a good caller noticed meanwhile."""

    answered: int = 0
    longest_seconds: float = 0.0
    tried_again: int = 0
    """How often it had to ask again, during a restart."""
    wrong: list[str] = field(default_factory=list)


class Campaign:
    """Attacks on one server; make it and use it on one event loop.

    Args:
        server: the server.
        seed: what all attacks are made from.
    """

    def __init__(self, server: LoggedServer, seed: int) -> None:
        self._server = server
        self._seed = seed
        self._restarts = Restarts(server.log)
        self._numbers = {kind: itertools.count() for kind in KINDS}
        self._checking: grpc.aio.Channel | None = None
        self._first: npt.NDArray[np.float32] | None = None
        self.health = Health()

    async def run(self, kind: str, messages: int) -> Report:
        """Sends so many messages of a kind, and waits until the server has given back what they took.

        Run again, it sends others: attacks are numbered on.
        A good request is sent behind them: its answer comes when all that had been waiting was taken up.
        """
        before, begin, tally = self._server.usage(), time.monotonic(), Tally()
        async with self._channels() as channels:
            senders = (self._send(kind, tally, messages, channel) for channel in channels)
            await asyncio.gather(*senders)
            await self._check(channels[0])
        usage = await self.settled(before)
        return Report(kind, tally, time.monotonic() - begin, usage)

    async def replay(self, kind: str, number: int) -> Outcome:
        """Sends one attack again."""
        async with grpc.aio.insecure_channel(self._server.target) as channel:
            return await self._attack(kind, number, channel)

    @asynccontextmanager
    async def checked(self) -> AsyncIterator[None]:
        """While the block lasts, sends good requests, and checks their answers; and once more at its end."""
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
        """Attacks over one channel until enough was sent, several at a time."""

        async def one_after_the_other() -> None:
            while tally.messages < messages and self._server.alive:
                number, began = next(self._numbers[kind]), time.time()
                outcome = await self._attack(kind, number, channel)
                tally.note(number, await self._judged(kind, outcome, began), KINDS[kind].expected)

        await asyncio.gather(*(one_after_the_other() for _ in range(max(1, KINDS[kind].width // CHANNELS))))

    async def _judged(self, kind: str, outcome: Outcome, began: float) -> Outcome:
        """The same outcome, or that it fell into a restart, where it did."""
        if verdict.expects(outcome, KINDS[kind].expected) or outcome.name not in EXCUSED:
            return outcome
        return replace(outcome, name=verdict.RESTARTED) if await self._restarted_since(began) else outcome

    async def _attack(self, kind: str, number: int, channel: grpc.aio.Channel) -> Outcome:
        rng, send = Random(f"{self._seed} {kind} {number}"), KINDS[kind]
        if send.over_channel is not None:
            return await send.over_channel(channel, rng)
        assert send.over_socket is not None
        try:
            outcome = await send.over_socket(self._server.target, rng)
        except ConnectionError:  # those that only stay and leave expect none
            outcome = Outcome("reset")
        return await self._answered_after(outcome, rng) if send.then_answers else outcome

    async def _answered_after(self, outcome: Outcome, rng: Random) -> Outcome:
        """The same outcome, if a good call behind it is answered."""
        began = time.time()
        while (good := await rubbish.send_good_call(self._server.target, rng)).name != "OK":
            if not await self._may_try_again(good.name, began):
                return Outcome("no answer", f"after it: {good.name}, {good.text}")
        return outcome

    async def settled(self, before: Usage) -> Usage:
        """What the server holds, as soon as that is no more than before; after some patience, whatever it is."""
        if self._checking and self._server.alive:  # its connection counts, and comes back a while after a restart
            with suppress(TimeoutError):  # of a server that has ended it doesn't
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
        """One good request; the first one's answer is what all others must be like."""
        begin = time.monotonic()
        try:
            answer = await self._answer(channel)
        except grpc.aio.AioRpcError as error:
            self.health.wrong.append(f"{error.code().name}: {error.details()}")
            return
        self.health.answered += 1
        self.health.longest_seconds = max(self.health.longest_seconds, time.monotonic() - begin)
        self._compare(answer)

    async def _answer(self, channel: grpc.aio.Channel) -> pb.ClassifyResponse:
        """The answer to a good request; it is sent again where it may have fallen into a restart."""
        began = time.time()
        while True:
            try:
                return await _good_answer(channel)
            except grpc.aio.AioRpcError as error:
                if not await self._may_try_again(error.code().name, began):
                    raise

    async def _may_try_again(self, ended: str, began: float) -> bool:
        """Whether a good call that ended so may have fallen into a restart; then it is time to send it again."""
        too_late = time.time() > began + RETRY_SECONDS
        if too_late or ended not in EXCUSED or not await self._restarted_since(began):
            return False
        await asyncio.sleep(CHECK_SECONDS)
        self.health.tried_again += 1
        return True

    async def _restarted_since(self, began: float) -> bool:
        """Whether there was a restart since then; it may be logged a moment later."""
        deadline = time.time() + WHOLE_SECONDS
        while not (restarted := self._restarts.any_since(began)) and time.time() < deadline:
            await asyncio.sleep(CHECK_SECONDS)
        return restarted

    def _compare(self, answer: pb.ClassifyResponse) -> None:
        values = np.frombuffer(answer.probabilities.data, "<f4")
        if self._first is None:
            self._first = values
        if values.shape != self._first.shape or not np.allclose(values, self._first, atol=TOLERANCE):
            self.health.wrong.append(f"another answer than at first: {values}")


async def _good_answer(channel: grpc.aio.Channel) -> pb.ClassifyResponse:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[files()["PNG"]]))
    call = channel.unary_unary(CLASSIFY, pb.ClassifyRequest.SerializeToString, pb.ClassifyResponse.FromString)
    answer: pb.ClassifyResponse = await call(request, timeout=PATIENCE_SECONDS)
    return answer
