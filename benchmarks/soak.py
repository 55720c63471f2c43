"""Everything at once for a long time: what a server holds more of with every minute, it would end by.

It starts `vitrine-server` with a model repository of its own, and calls it from this process in every way that the SDK
has, and some that it hasn't: from threads and from an event loop, single images and many, every layer and none, images
prepared here and there, streams, bad requests, deadlines that can't be kept, callers that cancel, connections that come
and go. Every few seconds the repository changes: a version comes, one that is broken, one goes. The server's memory,
open files and threads are sampled all along; their slopes are those of straight lines fitted by least squares.
"""

import asyncio
import json
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import click
import grpc
import grpc.aio
import numpy as np
import numpy.typing as npt
from fuzzing.corpus import files
from reloads import NAME, file_of, publish
from watched import Usage, WatchedServer, watched_server

from vitrine.client import AsyncClient, Client, DeadlineError, InvalidRequestError, NotFoundError, VitrineError
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

PIXELS: npt.NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (64, 18, 18), dtype=np.uint8)
EIGHT = (Path(__file__).parents[1] / "examples" / "eight.png").read_bytes()

SAMPLE_SECONDS = 2.0
RELOAD_SECONDS = 3.0
RELOADS = ("good", "corrupt", "good", "truncated", "golden-mismatched", "rolled back")
"""What becomes of the repository, in turns."""

KEPT_VERSIONS = 3
THREADS = 4
TASKS = 4
DRAIN_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at a moment."""

    minutes: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class Slope:
    """How much something grows in a minute, and how sure that is."""

    per_minute: float
    standard_error: float


class Soak:
    """The callers of one server, and what they noticed.

    Args:
        target: where it listens.
        seed: what decides who calls how.
    """

    def __init__(self, target: str, seed: int) -> None:
        self._target = target
        self._seed = seed
        self.outcomes: Counter[str] = Counter()
        self.unexpected: Counter[str] = Counter()
        self.enough = threading.Event()

    def call_from_a_thread(self, number: int) -> None:
        """One thread that calls in all the ways that wait, until it is enough."""
        rng = random.Random(self._seed + number)
        with Client(self._target) as client:
            while not self.enough.is_set():
                self._note(way := rng.choice(WAYS), lambda way=way: way(client))  # type: ignore[misc]

    async def call_from_a_task(self, number: int) -> None:
        """One task that calls in all the ways that don't wait, until it is enough."""
        rng = random.Random(self._seed - 1 - number)
        async with AsyncClient(self._target) as client, grpc.aio.insecure_channel(self._target) as channel:
            while not self.enough.is_set():
                way = rng.choice(ASYNC_WAYS)
                try:
                    await way(client, channel)
                    self.outcomes[f"{way.__name__}: as expected"] += 1
                except (VitrineError, grpc.aio.AioRpcError, AssertionError) as error:
                    self._fail(way.__name__, error)

    def _note(self, way: Callable[[Client], None], call: Callable[[], None]) -> None:
        try:
            call()
            self.outcomes[f"{way.__name__}: as expected"] += 1
        except (VitrineError, AssertionError) as error:
            self._fail(way.__name__, error)

    def _fail(self, way: str, error: Exception) -> None:
        self.outcomes[f"{way}: {type(error).__name__}"] += 1
        self.unexpected[f"{way}: {error!r}"] += 1


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
    await asyncio.wait([call])


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


def change_repository(root: Path, enough: threading.Event) -> Counter[str]:
    """Changes the repository every few seconds until it is enough; says what it did."""
    done, good = Counter[str](), [1]
    for version, kind in enumerate(cycle(RELOADS), start=2):
        if enough.wait(RELOAD_SECONDS):
            return done
        done[kind] += 1
        if kind == "rolled back":
            _remove(root, good.pop())
            continue
        publish(root, version, file_of(kind, version))
        if kind == "good":
            good.append(version)
        else:
            enough.wait(RELOAD_SECONDS)  # long enough for it to be tried
            _remove(root, version)
        while len(good) > KEPT_VERSIONS:
            _remove(root, good.pop(0))
    return done


def _remove(root: Path, version: int) -> None:
    """Takes a version away by a rename, as it should be done, and then from the disk."""
    shutil.rmtree((root / NAME / str(version)).rename(root / f".{version}"))


def sample_until(server: WatchedServer, enough: threading.Event) -> list[Sample]:
    """Samples of what the server holds, with a line on standard error each minute."""
    samples: list[Sample] = []
    begin = time.monotonic()
    while not enough.wait(SAMPLE_SECONDS):
        samples.append(Sample((time.monotonic() - begin) / 60, server.usage()))
        if len(samples) % round(60 / SAMPLE_SECONDS) == 0:
            click.echo(f"{samples[-1].minutes:5.1f} min  {samples[-1].usage}", err=True)
    return samples


def slope(samples: Sequence[Sample], value: Callable[[Usage], float]) -> Slope:
    """The slope of a straight line through the samples, with its standard error.

    The error takes the samples for independent, which memory's aren't quite: the truth is somewhat less sure.
    """
    x = np.array([sample.minutes for sample in samples])
    y = np.array([value(sample.usage) for sample in samples])
    if len(x) < 3:
        return Slope(float("nan"), float("nan"))
    spread = x - x.mean()
    per_minute = float(spread @ y / (spread @ spread))
    residuals = y - y.mean() - per_minute * spread
    error = np.sqrt(residuals @ residuals / (len(x) - 2) / (spread @ spread))
    return Slope(per_minute, float(error))


def slopes(samples: Sequence[Sample]) -> dict[str, Slope]:
    """The slopes over all, and over the second half, when everything has been warm for long."""
    measures: Mapping[str, Callable[[Usage], float]] = {
        "rss_kib": lambda usage: usage.rss_kib,
        "files": lambda usage: usage.files,
        "threads": lambda usage: usage.threads,
    }
    half = samples[len(samples) // 2 :]
    found = {f"{name} per minute": slope(samples, value) for name, value in measures.items()}
    return found | {f"{name} per minute, second half": slope(half, value) for name, value in measures.items()}


@click.command()
@click.option("--minutes", default=20.0, show_default=True, help="How long it takes.")
@click.option("--seed", default=0, show_default=True, help="What decides who calls how.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the samples into this file.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures, every sample among them, as JSON.")
def main(minutes: float, seed: int, plot: Path | None, as_json: bool) -> None:
    """Soak a server, and print what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "models")
        publish(root, 1, file_of("good", 1))
        settings = ("--model-repository", root, "--reload-seconds", 0.5, "--versions", "latest:2")
        with watched_server(*map(str, settings), "--drain-seconds", str(DRAIN_SECONDS)) as server:
            soak = Soak(server.target, seed)
            samples, reloads = run(soak, server, root, minutes)
            begin = time.monotonic()
            status = server.stop(2 * DRAIN_SECONDS)
            drained, faults = time.monotonic() - begin, server.faults()
    figures = {
        "outcomes": dict(sorted(soak.outcomes.items())),
        "unexpected": dict(soak.unexpected.most_common(20)),
        "reloads": dict(reloads),
        "slopes": {
            name: f"{found.per_minute:+.2f} ± {found.standard_error:.2f}" for name, found in slopes(samples).items()
        },
        "seconds_to_drain": round(drained, 2),
        "exit_status": status,
        "faults_in_log": [fault for fault in faults if not _expected(fault)][:20],
    }
    if plot is not None:
        draw(samples, plot)
    if as_json:
        everything = [[sample.minutes, *_numbers(sample.usage)] for sample in samples]
        click.echo(json.dumps(figures | {"samples": everything}, indent=2))
    else:
        click.echo("\n".join(_lines(figures)))
    sys.exit(bool(soak.unexpected or figures["faults_in_log"] or status))


def run(soak: Soak, server: WatchedServer, root: Path, minutes: float) -> tuple[list[Sample], Counter[str]]:
    """Everybody at once, until the time is up."""
    with ThreadPoolExecutor(THREADS + 3) as pool:
        sampling = pool.submit(sample_until, server, soak.enough)
        changing = pool.submit(change_repository, root, soak.enough)
        calling = [pool.submit(soak.call_from_a_thread, number) for number in range(THREADS)]
        calling.append(pool.submit(asyncio.run, _tasks(soak)))
        try:
            soak.enough.wait(minutes * 60)
        finally:
            soak.enough.set()
        for caller in calling:
            caller.result()
        return sampling.result(), changing.result()


async def _tasks(soak: Soak) -> None:
    await asyncio.gather(*(soak.call_from_a_task(number) for number in range(TASKS)))


def _expected(fault: str) -> bool:
    """Whether a line of the log is about a broken version, which there are on purpose."""
    return f"{NAME}@" in fault


def _numbers(usage: Usage) -> tuple[int, int, int]:
    return usage.rss_kib, usage.files, usage.threads


def _lines(figures: Mapping[str, Any]) -> Iterator[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from (f"{name:<16} {key}: {number}" for key, number in value.items())
        else:
            yield f"{name:<16} {value}"


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Draws memory, and open files and threads, over time."""
    from matplotlib.figure import Figure  # only here: nothing else needs it

    figure = Figure(figsize=(9, 5), layout="constrained")
    memory, counts = figure.subplots(2, 1, sharex=True)
    minutes = [sample.minutes for sample in samples]
    memory.plot(minutes, [sample.usage.rss_kib / 1024 for sample in samples], label="memory")
    memory.set_ylabel("MiB")
    counts.plot(minutes, [sample.usage.files for sample in samples], label="open files")
    counts.plot(minutes, [sample.usage.threads for sample in samples], label="threads")
    counts.set_xlabel("minutes")
    counts.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
