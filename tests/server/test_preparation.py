"""Preparing callers' files: what a file costs is bounded, and one caller's files hold up nobody else."""

import asyncio
import io
import math
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image, TiffImagePlugin
from support.serving import RunningServer, logged_server, open_log, running_server

from vitrine.client import Client, InvalidRequestError
from vitrine.model import MAX_IMAGE_PIXELS, PIXELS_SHAPE, ImageError, prepare
from vitrine.model.preparation.image import MAX_SCANS
from vitrine.model.preparation.step import DESCRIPTIONS
from vitrine.model.preparation.steps import PICTURE_SIDE
from vitrine.server.errors import Overloaded
from vitrine.server.preparation.messages import ANSWER_BYTES
from vitrine.server.preparation.pool import PreparationPool
from vitrine.server.preparation.processes import Decoders, MemoryBudget
from vitrine.server.preparation.turns import Turns
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

EIGHT = (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def slow_file() -> bytes:
    """A JPEG with as many scans as one may have, of 16 megapixels: it takes a second or so."""
    file = encoded(Image.new("L", (4000, 4000), 200), "JPEG", progressive=True)
    last = file[file.rindex(b"\xff\xda") : -2]
    return file[:-2] + (MAX_SCANS - file.count(b"\xff\xda")) * last + file[-2:]


def prepared(decoders: Decoders, file: bytes) -> npt.NDArray[np.uint8]:
    return decoders.prepare(file, MAX_IMAGE_PIXELS, PIXELS_SHAPE)


def children() -> set[int]:
    """The processes that this one has started from any thread."""
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def stop_idle_process(decoders: Decoders) -> int:
    """Stops the one process that waits for the next image; its id."""
    before = children()
    prepared(decoders, EIGHT)
    [process] = children() - before
    os.kill(process, signal.SIGSTOP)
    return process


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    made = Decoders(512 << 20)
    yield made
    made.close()


def test_a_file_is_prepared_as_locally(decoders: Decoders) -> None:
    photo = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)))
    for file in (EIGHT, photo):
        np.testing.assert_array_equal(prepared(decoders, file), prepare(file))
    with pytest.raises(ImageError, match="no image, truncated or damaged") as caught:
        prepared(decoders, b"hello")
    assert caught.value.reason == "IMAGE_UNREADABLE"


def test_a_file_that_takes_too_long_is_ended_and_the_next_one_is_prepared() -> None:
    impatient = Decoders(512 << 20, seconds=0.05)
    try:
        with pytest.raises(ImageError, match=r"more than 0\.05 s") as caught:
            prepared(impatient, slow_file())
    finally:
        impatient.close()
    assert caught.value.reason == "IMAGE_UNSUPPORTED"


def test_a_process_that_died_is_replaced(decoders: Decoders) -> None:
    before = children()
    prepared(decoders, EIGHT)
    [process] = children() - before
    os.kill(process, signal.SIGKILL)
    os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
    np.testing.assert_array_equal(prepared(decoders, EIGHT), prepare(EIGHT))
    assert process not in children()


def test_an_image_whose_process_is_killed_is_prepared_by_another(decoders: Decoders) -> None:
    process = stop_idle_process(decoders)
    with ThreadPoolExecutor(1) as threads:
        work = threads.submit(prepared, decoders, EIGHT)
        os.kill(process, signal.SIGKILL)
        np.testing.assert_array_equal(work.result(), prepare(EIGHT))


class Deadly(Decoders):
    """Its processes end with a status as soon as they are asked."""

    def __init__(self, status: int | None) -> None:
        super().__init__(512 << 20)
        self.status = status
        self.asked = 0

    def _take(self) -> Any:
        self.asked += 1
        return self

    def answer(self, *_: object) -> bytes:
        raise EOFError

    def end(self) -> int | None:
        return self.status


@pytest.mark.parametrize("status", [-signal.SIGKILL, -signal.SIGTERM, 1, None])
def test_an_image_whose_processes_are_killed_is_refused_after_two(status: int | None) -> None:
    deadly = Deadly(status)
    with pytest.raises(Overloaded, match="the process that prepared the image was killed"):
        prepared(deadly, EIGHT)
    assert deadly.asked == 2


def test_an_image_that_makes_its_process_fail_is_given_to_no_other() -> None:
    deadly = Deadly(-signal.SIGSEGV)
    with pytest.raises(ImageError, match="it makes the decoder fail"):
        prepared(deadly, EIGHT)
    assert deadly.asked == 1


@pytest.mark.parametrize("file", [EIGHT, EIGHT + bytes(8 << 20)], ids=["it doesn't answer", "it doesn't read"])
def test_a_stopped_process_is_given_up_and_replaced(file: bytes) -> None:
    hasty = Decoders(512 << 20, wall_seconds=5)
    try:
        process = stop_idle_process(hasty)
        with pytest.raises(Overloaded, match="preparing the image took more than 5 s: try again"):
            prepared(hasty, file)
        assert process not in children()
        np.testing.assert_array_equal(prepared(hasty, EIGHT), prepare(EIGHT))
    finally:
        hasty.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_group_of_the_server_ends_no_preparation(decoders: Decoders, number: int) -> None:
    before = children()
    prepared(decoders, EIGHT)
    [process] = children() - before
    os.kill(process, number)
    np.testing.assert_array_equal(prepared(decoders, EIGHT), prepare(EIGHT))
    assert process in children()


def test_no_process_is_left(decoders: Decoders) -> None:
    before = children()
    prepared(decoders, EIGHT)
    assert len(children() - before) == 1
    decoders.close()
    assert children() <= before


def test_a_file_that_declares_more_memory_than_there_is_is_refused() -> None:
    small = Decoders(20 << 20)
    try:
        with pytest.raises(ImageError, match="takes 22 MiB to decode, and at most 20 MiB") as caught:
            prepared(small, encoded(Image.new("RGB", (2000, 3000))))
        assert prepared(small, encoded(Image.new("L", (2000, 3000)))).shape == PIXELS_SHAPE
    finally:
        small.close()
    assert caught.value.reason == "IMAGE_TOO_LARGE"


def test_memory_is_waited_for() -> None:
    budget, taken = MemoryBudget(100), threading.Event()

    def take(size: int) -> None:
        with budget.taken(size):
            taken.set()

    with ThreadPoolExecutor(1) as threads:
        with budget.taken(60), budget.taken(40):
            waiting = threads.submit(take, 1)
            assert not waiting.done()
            assert not taken.is_set()
        waiting.result()
        with budget.taken(60):
            threads.submit(take, 40).result()
        threads.submit(take, 1000).result()  # nothing else is taken: it needn't wait for ever


async def test_a_caller_that_fills_its_share_waits_and_others_do_not() -> None:
    turns = Turns(places=3, share=2)
    greedy = [asyncio.ensure_future(turns.enter("greedy")) for _ in range(100)]
    await asyncio.wait(greedy[:2])
    await asyncio.wait_for(turns.enter("other"), 60)
    assert sum(place.done() for place in greedy) == 2
    turns.leave("greedy")
    await greedy[2]
    assert sum(place.done() for place in greedy) == 3
    for place in greedy[3:]:
        place.cancel()


async def test_callers_take_turns() -> None:
    turns = Turns(places=1, share=1)
    await turns.enter("")
    order: list[str] = []

    async def work(caller: str) -> None:
        await turns.enter(caller)
        order.append(caller)
        turns.leave(caller)

    callers = [asyncio.ensure_future(work(caller)) for caller in ("ann", "ann", "ann", "bob", "eve")]
    await asyncio.sleep(0)
    turns.leave("")
    await asyncio.gather(*callers)
    assert order == ["ann", "bob", "eve", "ann", "ann"]


async def test_a_place_of_a_caller_that_has_gone_is_given_on() -> None:
    turns = Turns(places=1, share=1)
    await turns.enter("ann")
    gone = [asyncio.ensure_future(turns.enter("bob")) for _ in range(2)]
    await asyncio.sleep(0)
    gone[0].cancel()  # while it waits
    await asyncio.sleep(0)
    turns.leave("ann")
    gone[1].cancel()  # at the moment at which it is given a place
    await asyncio.wait(gone)
    await asyncio.wait_for(turns.enter("eve"), 60)


async def test_callers_that_go_while_they_wait_are_forgotten() -> None:
    turns = Turns(places=1, share=1)
    await turns.enter("ann")
    waiting = [asyncio.ensure_future(turns.enter(caller)) for caller in ("bob", "bob", "eve")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    waiting[2].cancel()
    await asyncio.wait([waiting[0], waiting[2]])
    assert {caller: len(queue) for caller, queue in turns._waiting.items()} == {"bob": 1}
    turns.leave("ann")
    await asyncio.wait_for(waiting[1], 60)
    assert not turns._waiting


async def test_one_callers_files_hold_up_no_other_caller() -> None:
    go_on = threading.Event()

    class Held(Decoders):
        def prepare(self, file: bytes, *_: object) -> npt.NDArray[np.uint8]:
            if file == b"heavy":
                go_on.wait()
            return np.zeros(PIXELS_SHAPE, np.uint8)

    with ThreadPoolExecutor(3) as threads:
        pool = PreparationPool(Held(1), threads, share=2)
        heavy = [asyncio.ensure_future(pool.prepare(b"heavy", "greedy", 1, PIXELS_SHAPE)) for _ in range(100)]
        await asyncio.sleep(0)
        await asyncio.wait_for(pool.prepare(b"light", "other", 1, PIXELS_SHAPE), 60)
        assert not any(work.done() for work in heavy)
        go_on.set()
        await asyncio.gather(*heavy)


def test_decoders_warnings_never_reach_the_log(tiny_artifact: Path) -> None:
    fields = TiffImagePlugin.ImageFileDirectory_v2()
    file = encoded(Image.new("L", (40, 40), 255), "TIFF", tiffinfo=fields)
    entry = (271).to_bytes(2, "little") + (3).to_bytes(2, "little") + (4000).to_bytes(4, "little") + b"\xff" * 4
    at = int.from_bytes(file[4:8], "little")
    count = int.from_bytes(file[at : at + 2], "little")
    body, rest = file[at + 2 : at + 2 + 12 * count], bytes(4)
    directory = (count + 5000).to_bytes(2, "little") + body + 5000 * entry + rest
    odd = file[:4] + len(file).to_bytes(4, "little") + file[8:] + directory
    with (
        open_log() as (stream, log),
        logged_server(stream, tiny_artifact, "--log-format", "json") as server,
        Client(server.target) as client,
        suppress(InvalidRequestError),
    ):
        client.classify(odd, preparation="server")
    assert len(log.text.splitlines()) < 20
    assert "PIL" not in log.text


def test_the_steps_of_a_file_end_with_the_pixels_that_classifying_it_takes(server: RunningServer) -> None:
    photo = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 500, 3), np.uint8)))
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        for file in (EIGHT, photo):
            shown = stub.Prepare(pb.PrepareRequest(file=file))
            assert shown.pixels.data == prepare(file).tobytes()
            assert list(shown.pixels.shape) == [1, *PIXELS_SHAPE]
            assert [step.name for step in shown.steps] == list(DESCRIPTIONS)
            assert all(step.description for step in shown.steps)
            for step in shown.steps:
                assert max(step.picture.shape) < 2 * PICTURE_SIDE
                assert len(step.picture.data) == math.prod(step.picture.shape)
            last = np.frombuffer(shown.steps[-1].picture.data, np.uint8)
            np.testing.assert_array_equal(255 - last, prepare(file).ravel())


def test_the_steps_of_what_is_no_image_are_refused_by_its_field(server: RunningServer) -> None:
    with grpc.insecure_channel(server.target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            stub.Prepare(pb.PrepareRequest(file=b"hello"))
    error: Any = refused.value
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = error_details_pb2.BadRequest()
    assert any(detail.Unpack(details) for detail in rpc_status.from_call(error).details)
    assert [violation.field for violation in details.field_violations] == ["file"]


def test_the_steps_take_the_place_of_one_image(tiny_artifact: Path) -> None:
    with (
        running_server(tiny_artifact, "--caller-rate", "0.001", "--max-images", "1") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub: Any = ClassifierServiceStub(channel)
        stub.Prepare(pb.PrepareRequest(file=EIGHT))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Prepare(pb.PrepareRequest(file=EIGHT))
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("shape", [(18, 18), (12, 20), (400, 300)])
def test_the_largest_steps_fit_into_a_process_answer(decoders: Decoders, shape: tuple[int, int]) -> None:
    file = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (1000, 1000), np.uint8)))
    pixels, steps = decoders.show(file, MAX_IMAGE_PIXELS, shape)
    np.testing.assert_array_equal(pixels, prepare(file, shape=shape))
    assert sum(step.picture.nbytes for step in steps) + pixels.nbytes < ANSWER_BYTES
