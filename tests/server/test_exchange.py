"""One HTTP request and its answer, with a host that the test plays."""

import asyncio
from typing import Any

from vitrine.server.frontends.asgi.events import Event
from vitrine.server.frontends.asgi.exchange import WATCH_SECONDS, Exchange
from vitrine.server.frontends.asgi.methods import Method
from vitrine.server.frontends.asgi.wires import ONE
from vitrine.server.inference.admission import Admission, AdmissionConfig
from vitrine.server.inference.connections import ConnectionConfig, Connections


async def test_a_watch_that_is_over_leaves_the_hosts_future_alone() -> None:
    """Envoy's host sets the result of a future that it gave, and the log would have an error if it were cancelled."""
    loop = asyncio.get_running_loop()
    given: list[asyncio.Future[Event]] = []

    def receive() -> "asyncio.Future[Event]":
        given.append(loop.create_future())
        return given[-1]

    async def send(_: Event) -> None:
        pass

    async def answer(*_: Any) -> None:
        pass

    method = Method("/a.B/C", answer, None, bytes.decode, bytes.decode, 1000, False, False, (), ())  # type: ignore[arg-type]
    connections = Connections(ConnectionConfig(), Admission(AdmissionConfig()))
    exchange = Exchange({"client": ("127.0.0.1", 1)}, {}, receive, send, method, ONE[b"application/grpc"], connections)
    exchange.body.ended = True
    exchange.look_after(loop.time() + 1000 * WATCH_SECONDS)
    await asyncio.sleep(0)
    exchange.close()
    for _ in range(3):
        await asyncio.sleep(0)
    assert [future.cancelled() for future in given] == [False]
