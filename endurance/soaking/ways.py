"""Calls a server in every way that the SDK has, and some that it hasn't. Each checks what comes, or the refusal."""

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

# The ways to call that wait for the answer. Each checks what comes, or what it is refused with.


def one_image(client: Client) -> None:
    """Every layer of one image."""
    prediction = client.classify(PIXELS[0], preparation="none")
    assert prediction.activations["input"].shape == (324,)
    assert abs(float(prediction.probabilities.sum()) - 1) < 1e-4


def one_file(client: Client) -> None:
    """A file that the server prepares, without any layer."""
    assert not client.classify(EIGHT, preparation="server", activations=None).activations


def one_file_prepared_here(client: Client) -> None:
    """A file that the client prepares."""
    assert client.classify(files()["JPEG"], activations="relu_1").activations["relu_1"].size


def many_images(client: Client) -> None:
    """More images than go into a batch."""
    assert len(list(client.classify_many(np.tile(PIXELS, (8, 1, 1)), preparation="none"))) == 8 * len(PIXELS)


def many_images_left(client: Client) -> None:
    """Many images with every layer, of which only the first is taken."""
    predictions = client.classify_many(np.tile(PIXELS, (32, 1, 1)), preparation="none", activations="all")
    next(predictions)
    predictions.close()


def descriptions(client: Client) -> None:
    """What is served, its layers and its parameters."""
    assert client.models()
    assert client.model().layers
    assert client.parameters("linear_2").weight.ndim == 2


def health(client: Client) -> None:
    """How the server is."""
    assert client.health()


def a_bad_layer(client: Client) -> None:
    """A layer that there isn't."""
    _refused(InvalidRequestError, lambda: client.classify(PIXELS[0], preparation="none", activations="relu_9"))


def a_bad_file(client: Client) -> None:
    """A file that is no image."""
    _refused(InvalidRequestError, lambda: client.classify(EIGHT[:100], preparation="server"))


def a_bad_model(client: Client) -> None:
    """A model that there isn't."""
    _refused(NotFoundError, lambda: client.classify(PIXELS[0], preparation="none", model="nothing@7"))


def a_short_deadline(client: Client) -> None:
    """A deadline that can hardly be kept."""
    try:
        client.classify(PIXELS[0], preparation="none", timeout=0.0005)
    except DeadlineError:
        return


def a_connection(client: Client) -> None:
    """A connection for one call."""
    with Client(client.target) as another:
        one_image(another)


def _refused(error: type[VitrineError], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError("what is bad was answered")


WAYS: Sequence[Callable[[Client], None]] = (
    one_image,
    one_file,
    one_file_prepared_here,
    many_images,
    many_images_left,
    descriptions,
    health,
    a_bad_layer,
    a_bad_file,
    a_bad_model,
    a_short_deadline,
    a_connection,
)


# The ways to call on an event loop: the SDK's, and the streams, which it hasn't.


async def some_at_once(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """Several images at the same time."""
    calls = (client.classify(pixels, preparation="none") for pixels in PIXELS[:16])
    assert len(await asyncio.gather(*calls)) == 16


async def some_files(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """Files of every format, which the server prepares."""
    good = list(files().values())
    assert len([p async for p in client.classify_many(good, preparation="server")]) == len(good)


async def cancelled(client: AsyncClient, _: grpc.aio.Channel) -> None:
    """A call whose caller changes its mind."""
    call = asyncio.ensure_future(client.classify(PIXELS[0], preparation="none"))
    await asyncio.sleep(0.001)
    call.cancel()
    with suppress(asyncio.CancelledError):
        await call


async def a_stream(_: AsyncClient, channel: grpc.aio.Channel) -> None:
    """A stream to its end."""
    assert len([answer async for answer in _stream(channel)(_requests(20))]) == 20


async def a_stream_left(_: AsyncClient, channel: grpc.aio.Channel) -> None:
    """A stream of which only the first answer is read."""
    call = _stream(channel)(_requests(50))
    async for _answer in call:
        break
    call.cancel()


def _stream(channel: grpc.aio.Channel) -> Any:
    """The method; the generated stub's types know only channels that wait."""
    stub: Any = ClassifierServiceStub(channel)
    return stub.ClassifyStream


async def _requests(count: int) -> AsyncIterator[pb.ClassifyStreamRequest]:
    tensor = pb.Tensor(shape=[4, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=PIXELS[:4].tobytes())
    request = pb.ClassifyRequest(pixels=tensor, activations=pb.LayerSelection(all=True))
    for _ in range(count):
        yield pb.ClassifyStreamRequest(request=request)


ASYNC_WAYS: Sequence[Callable[[AsyncClient, grpc.aio.Channel], Any]] = (
    some_at_once,
    some_files,
    cancelled,
    a_stream,
    a_stream_left,
)
