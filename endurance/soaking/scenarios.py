"""Calls of every kind that the SDK has, and streams, which it hasn't. Each checks its answer or its refusal."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt

from endurance.fuzzing.corpus import files
from vitrine.client import AsyncClient, Client, DeadlineError, InvalidRequestError, NotFoundError, VitrineError
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

PIXELS: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (64, 18, 18), dtype=np.uint8)
EIGHT = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()

# Synchronous scenarios


def one_image(client: Client) -> None:
    """Every layer of one image."""
    prediction = client.classify(PIXELS[0], preparation="none")
    assert prediction.activations["input"].shape == (324,)
    assert abs(float(prediction.probabilities.sum()) - 1) < 1e-4


def one_file(client: Client) -> None:
    """An image file that the server prepares, without activations."""
    assert not client.classify(EIGHT, preparation="server", activations=None).activations


def one_file_prepared_by_client(client: Client) -> None:
    """An image file that the client prepares."""
    assert client.classify(files()["JPEG"], activations="relu_1").activations["relu_1"].size


def many_images(client: Client) -> None:
    """More images than fit into a batch."""
    assert len(list(client.classify_many(np.tile(PIXELS, (8, 1, 1)), activations=None, preparation="none"))) == 8 * len(
        PIXELS
    )


def many_images_abandoned(client: Client) -> None:
    """Many images with every layer, abandoned after the first answer."""
    predictions = client.classify_many(np.tile(PIXELS, (32, 1, 1)), preparation="none", activations="all")
    next(predictions)
    predictions.close()


def descriptions(client: Client) -> None:
    """Models, layers and parameters."""
    assert client.models()
    assert client.model().layers
    assert client.parameters("linear_2").weight.ndim == 2


def health(client: Client) -> None:
    """The server's health."""
    assert client.health()


def unknown_layer(client: Client) -> None:
    """A layer that the model lacks: refused."""
    _refused(InvalidRequestError, lambda: client.classify(PIXELS[0], preparation="none", activations="relu_9"))


def invalid_file(client: Client) -> None:
    """A file that isn't an image: refused."""
    _refused(InvalidRequestError, lambda: client.classify(EIGHT[:100], preparation="server"))


def unknown_model(client: Client) -> None:
    """A model that isn't served: refused."""
    _refused(NotFoundError, lambda: client.classify(PIXELS[0], preparation="none", model="nothing@7"))


def short_deadline(client: Client) -> None:
    """A deadline that can hardly be met."""
    try:
        client.classify(PIXELS[0], preparation="none", timeout=0.0005)
    except DeadlineError:
        return


def new_connection(client: Client) -> None:
    """A new connection for one call."""
    with Client(client.target) as another:
        one_image(another)


def _refused(error: type[VitrineError], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError("a bad request was answered")


SCENARIOS: Sequence[Callable[[Client], None]] = (
    one_image,
    one_file,
    one_file_prepared_by_client,
    many_images,
    many_images_abandoned,
    descriptions,
    health,
    unknown_layer,
    invalid_file,
    unknown_model,
    short_deadline,
    new_connection,
)


# Asynchronous scenarios


async def concurrent_images(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """Several images at the same time."""
    calls = (client.classify(pixels, preparation="none") for pixels in PIXELS[:16])
    assert len(await asyncio.gather(*calls)) == 16


async def many_files(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """Image files of every format, which the server prepares."""
    good = list(files().values())
    assert len([p async for p in client.classify_many(good, activations=None, preparation="server")]) == len(good)


async def cancelled_call(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """A call that is cancelled at once."""
    call = asyncio.ensure_future(client.classify(PIXELS[0], preparation="none"))
    await asyncio.sleep(0.001)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


async def stream(_: AsyncClient, channel: grpc.aio.Channel) -> None:
    """A stream that is read to its end."""
    assert len([answer async for answer in _stream(channel)(_requests(20))]) == 20


async def abandoned_stream(_: AsyncClient, channel: grpc.aio.Channel) -> None:
    """A stream that is cancelled after the first answer."""
    call = _stream(channel)(_requests(50))
    async for _answer in call:
        break
    call.cancel()


def _stream(channel: grpc.aio.Channel) -> Any:
    """The stream's method; the generated stub's types know synchronous channels only."""
    stub: Any = ClassifierServiceStub(channel)
    return stub.ClassifyStream


async def _requests(count: int) -> AsyncIterator[pb.ClassifyStreamRequest]:
    tensor = pb.Tensor(shape=[4, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=PIXELS[:4].tobytes())
    request = pb.ClassifyRequest(pixels=tensor, activations=pb.LayerSelection(all=True))
    for _ in range(count):
        yield pb.ClassifyStreamRequest(request=request)


ASYNC_SCENARIOS: Sequence[Callable[[AsyncClient, grpc.aio.Channel], Any]] = (
    concurrent_images,
    many_files,
    cancelled_call,
    stream,
    abandoned_stream,
)
