"""A log that nobody reads: it loses lines, and holds up neither calls, nor signals, nor the supervisor."""

import logging
import os
import secrets
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.serving import PATIENCE_SECONDS, SERVER, logged_server, open_log

from endurance.fuzzing import frames as h2
from endurance.fuzzing.connections import connected, read_status
from endurance.fuzzing.corpus import CLASSIFY
from vitrine.client import Client
from vitrine.server.process.port import can_be_shared
from vitrine.server.telemetry.log_queue import WAITING_BYTES, LineWriter, let_writes_fail
from vitrine.server.telemetry.logs import LogConfig, WaitlessHandler, dress
from vitrine.server.telemetry.metrics import Metrics
from vitrine.server.telemetry.metrics_config import MetricsConfig

SHARED_PORT = pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")

ROOM = 16 << 10
"""Bytes that a jammed pipe still takes, for a server's first lines."""


@contextmanager
def jammed_pipe(room: int = 0) -> Iterator[tuple[int, int]]:
    """A pipe that is full but for `room` bytes, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    assert len(os.read(reading, room)) == room
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def read_all(descriptor: int) -> bytes:
    os.set_blocking(descriptor, False)
    try:
        return os.read(descriptor, 1 << 24).strip(b"\0")
    except BlockingIOError:
        return b""


def test_lines_wait_for_a_reader_and_come_in_their_order() -> None:
    with jammed_pipe() as (reading, writing):
        let_writes_fail(writing)
        writer = LineWriter(writing)
        for number in range(3):
            writer.put(f"line {number}")
        assert read_all(reading) == b""
        writer.flush(PATIENCE_SECONDS)
        assert read_all(reading) == b"line 0\nline 1\nline 2\n"
        assert writer.dropped == 0


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("test", logging.INFO, __file__, 0, message, (), None)


def test_lines_beyond_the_bound_are_dropped_and_counted_and_the_log_says_so() -> None:
    with jammed_pipe() as (reading, writing):
        writer = LineWriter(writing)
        handler = WaitlessHandler(writer)
        dress(handler, LogConfig())
        for _ in range(WAITING_BYTES // 1024):
            handler.emit(record("x" * 1024))  # and a time and a level
        dropped = handler.dropped
        assert dropped > 0
        read_until(reading, lambda _: writer.has_room)
        handler.emit(record("again"))
        text = read_until(reading, lambda text: text.endswith("again\n"))
    assert f"{dropped} lines of the log were dropped" in text.splitlines()[-2]


def read_until(descriptor: int, enough: Callable[[str], bool]) -> str:
    """Reads from a pipe until a condition holds for what was read."""
    text = ""
    while not enough(text):
        assert select.select([descriptor], [], [], PATIENCE_SECONDS)[0], text[-1000:]
        text += os.read(descriptor, 1 << 16).decode()
    return text


def test_a_line_that_can_not_be_written_counts_as_dropped() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = LineWriter(writing)
    writer.put("nobody is there")
    writer.flush(PATIENCE_SECONDS)
    os.close(writing)
    assert writer.dropped == 1


def test_what_other_programs_share_goes_on_to_wait() -> None:
    """A terminal and a pipe are shared with the shell that started the server."""
    reading, writing = os.pipe()
    shared = os.dup(writing)
    let_writes_fail(writing)
    assert (os.get_blocking(writing), os.get_blocking(shared)) == (False, True)
    for descriptor in (reading, writing, shared):
        os.close(descriptor)


def test_a_files_lines_stand_behind_those_before(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        file.write("before\n")
        file.flush()
        let_writes_fail(file.fileno())
        writer = LineWriter(file.fileno())
        writer.put("after")
        writer.flush(PATIENCE_SECONDS)
    assert (tmp_path / "log").read_text() == "before\nafter\n"


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_a_reader_that_hangs_stops_neither_calls_nor_the_end(tiny_artifact: Path, workers: str) -> None:
    flags = ("--log-level", "debug", "--workers", workers, "--metrics-port", "0")
    image = np.zeros((18, 18), np.uint8)
    with jammed_pipe(room=ROOM) as (reading, writing), os.fdopen(os.dup(writing), "w") as log:
        with logged_server(log, tiny_artifact, *flags) as server, Client(server.target, retries=0) as client:
            for _ in range(300):
                client.classify(image, preparation="none")
            assert server.stop() == 0
        assert len(os.read(reading, 1 << 20)) > 1 << 15  # it was full


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_a_server_without_standard_error_serves(tiny_artifact: Path, workers: str) -> None:
    program = ("/bin/sh", "-c", 'exec "$0" "$@" 2>&-', SERVER)
    with logged_server(None, tiny_artifact, "--workers", workers, program=program) as server:
        with Client(server.target, retries=0) as client:
            client.classify(np.zeros((18, 18), np.uint8), preparation="none")
        assert server.stop() == 0


def test_dropped_lines_are_a_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics((), MetricsConfig(port=0))
    for count in (0, 3, 3, 5):
        monkeypatch.setattr("vitrine.server.telemetry.metrics.dropped_lines", lambda count=count: count)
        metrics.show_process()
        assert metrics.registry.get_sample_value("vitrine_log_lines_dropped_total") == count


async def test_a_token_that_is_no_utf_8_reaches_no_log(tiny_artifact: Path) -> None:
    token = secrets.token_hex(16)
    headers: Any = [(name.encode(), value.encode()) for name, value in h2.call_headers(CLASSIFY)]
    headers.append((b"authorization", b"Bearer \xa0" + token.encode()))
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--log-level", "debug") as server:
        async with connected(server.target) as (reader, writer):
            message = h2.grpc_message(b"")
            writer.write(h2.greeting() + h2.headers_frame(headers, 1) + h2.data_frames(message, 1))
            assert (await read_status(reader))[0] == "INVALID_ARGUMENT"
        server.stop()
    assert "Classify code=INVALID_ARGUMENT" in log.text
    assert token not in log.text
