"""The table of all kinds of bad input: share of the messages, concurrency, sender, allowed outcomes."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from random import Random

import grpc.aio

from endurance.fuzzing import (
    calls,
    malformed_grpc,
    malformed_http1,
    malformed_http2,
    outcomes,
    slow_clients,
    web_calls,
)
from endurance.fuzzing.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of bad input."""

    share: float
    """Share of all messages, 0 to 1."""
    concurrency: int
    """Attacks in flight."""
    allowed: Collection[str]
    """Names of allowed outcomes."""
    over_channel: Callable[[grpc.aio.Channel, Random], Awaitable[Outcome]] | None = None
    """Sends one attack through gRPC."""
    over_socket: Callable[[str, Random], Awaitable[Outcome]] | None = None
    """Sends one attack to HOST:PORT over a connection of its own."""
    over_http: Callable[[str, Random], Awaitable[Outcome]] | None = None
    """The same, to the HOST:PORT where the server speaks HTTP/1.1."""
    then_answers: bool = False
    """True: a valid call behind each attack must be answered."""


CONCURRENT_FLOODS = 8
"""With as many calls as a connection may have in each, they stay below the queue length at which core cancels any."""

KINDS: Mapping[str, Kind] = {
    "messages": Kind(0.4, 128, outcomes.REFUSED, over_channel=calls.send_message),
    "open protocol": Kind(0.14, 128, outcomes.REFUSED_OR_UNKNOWN, over_channel=calls.send_open_message),
    "images": Kind(0.12, 64, outcomes.REFUSED, over_channel=calls.send_image),
    "streams": Kind(0.18, 64, outcomes.REFUSED, over_channel=calls.send_stream),
    "web calls": Kind(0.07, 64, outcomes.WEB_CALL, over_http=web_calls.send_web_call),
    "other services": Kind(0.03, 64, outcomes.REFUSED_OR_UNKNOWN, over_channel=calls.send_to_other_service),
    "malformed HTTP/1.1": Kind(0.01, 64, outcomes.REFUSED_HTTP, over_http=malformed_http1.send_malformed),
    "malformed HTTP/2": Kind(0.02, 64, outcomes.SURVIVED_OR_WAITING, over_socket=malformed_http2.send_malformed),
    "floods": Kind(
        0.0003, CONCURRENT_FLOODS, outcomes.SURVIVED, over_socket=malformed_http2.send_flood, then_answers=True
    ),
    "malformed calls": Kind(0.015, 64, outcomes.MALFORMED_CALL, over_socket=malformed_grpc.send_malformed_call),
    "abandoned streams": Kind(0.0112, 16, outcomes.LEFT, over_socket=slow_clients.abandon_streams),
    "slow readers": Kind(0.0005, 32, outcomes.LEFT, over_socket=slow_clients.read_slowly),
    "idle connections": Kind(0.003, 32, outcomes.LEFT, over_socket=slow_clients.stay_idle),
}
"""All kinds by name; their shares add up to one."""
