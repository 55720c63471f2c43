"""One `AsyncClient` in several event loops: scripts call `asyncio.run` more than once, and threads have their own."""

import asyncio
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
import pytest
from client.scripted import PATIENCE_SECONDS, ScriptedServer

from vitrine.client import AsyncClient, CallCancelledError, UsageError

PIXELS = np.full((18, 18), 7, np.uint8)


async def classify(client: AsyncClient) -> Any:
    return (await client.classify(PIXELS, preparation="none")).digit


async def classify_many(client: AsyncClient) -> list[int]:
    return [found.digit async for found in client.classify_many([PIXELS] * 9, preparation="none")]


def test_a_client_works_in_one_event_loop_after_another(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)
    assert [asyncio.run(classify(client)) for _ in range(3)] == [7, 7, 7]
    assert asyncio.run(classify_many(client)) == [7] * 9
    assert asyncio.run(client.health())
    asyncio.run(client.close())
    with pytest.raises(UsageError, match="this client is closed"):
        asyncio.run(classify(client))


def test_threads_may_share_a_client_each_with_an_event_loop_of_its_own(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)

    def calls(_: int) -> list[int]:
        async def several() -> list[int]:
            return [await classify(client) for _ in range(20)]

        return asyncio.run(several())

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(calls, range(4))) == [[7] * 20] * 4
    asyncio.run(client.close())


def test_a_client_that_another_event_loop_has_closed_is_closed(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)
    asyncio.run(classify(client))
    asyncio.run(client.close())
    asyncio.run(client.close())
    assert repr(client).endswith("closed)")


def test_event_loops_that_are_over_leave_no_channel_behind(scripted: ScriptedServer) -> None:
    client = AsyncClient(scripted.target)
    channels = []

    async def call() -> None:
        await classify(client)
        channels.append(weakref.ref(client._connected().channel))

    for _ in range(5):
        asyncio.run(call())
    gc.collect()
    assert [channel() is not None for channel in channels] == [False] * 4 + [True]
    asyncio.run(client.close())
    gc.collect()
    assert not any(channel() for channel in channels)


def test_closing_a_client_closes_the_channels_of_other_event_loops_too(scripted: ScriptedServer) -> None:
    client, arrived, leave = AsyncClient(scripted.target), threading.Event(), threading.Event()

    def hang(request: Any, context: grpc.ServicerContext) -> None:
        arrived.set()
        leave.wait(PATIENCE_SECONDS)

    async def other_loop() -> None:
        await classify(client)
        scripted.script = [hang]
        under_way = asyncio.create_task(classify(client))
        with pytest.raises(CallCancelledError, match="the client was closed"):
            await under_way

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(asyncio.run, other_loop())
        assert arrived.wait(PATIENCE_SECONDS)
        asyncio.run(client.close())
        try:
            other.result(PATIENCE_SECONDS)
        finally:
            leave.set()
