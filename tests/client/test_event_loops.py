"""One `AsyncClient` in several event loops: scripts call `asyncio.run` more than once, and threads have their own."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from client.scripted import ScriptedServer

from vitrine.client import AsyncClient, UsageError

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
