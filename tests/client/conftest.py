"""What the client's tests share: a scripted server, and a way to ask both clients the same."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from client.scripted import ScriptedServer, running

from vitrine.client import AsyncClient, Client

Ask = Callable[..., Any]


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    """A server that does what the test tells it."""
    with running() as server:
        yield server


@pytest.fixture(params=["Client", "AsyncClient"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """Calls one method of a fresh client: `ask(target, "classify", image, options={…of the client…}, …)`."""
    return ask_sync if request.param == "Client" else ask_async


def ask_sync(
    target: str | None, method: str, /, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any
) -> Any:
    with Client(target, **options or {}) as client:
        result = getattr(client, method)(*args, **kwargs)
        return list(result) if method == "classify_many" else result


def ask_async(
    target: str | None, method: str, /, *args: Any, options: dict[str, Any] | None = None, **kwargs: Any
) -> Any:
    async def call() -> Any:
        async with AsyncClient(target, **options or {}) as client:
            result = getattr(client, method)(*args, **kwargs)
            return [item async for item in result] if method == "classify_many" else await result

    return asyncio.run(call())


@pytest.fixture
def images() -> npt.NDArray[np.uint8]:
    """Ten images' pixels, image i being all i: uint8 (10, 18, 18)."""
    return np.repeat(np.arange(10, dtype=np.uint8), 18 * 18).reshape(10, 18, 18)
