"""Several worker processes behind one port: spread, replaced, drained, and gone when they should be."""

import asyncio
import logging
import os
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.serving import (
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    SERVER,
    Log,
    launched_server,
    logged_server,
    open_log,
    refused_start,
    running_server,
)

from benchmarks.harness.processes import process_tree
from benchmarks.harness.servers import OWN_CONNECTION
from vitrine.client import Client
from vitrine.server.cli import command
from vitrine.server.errors import StartupError
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.process import config as process_config
from vitrine.server.process import supervisor
from vitrine.server.process.config import ProcessConfig, ServerConfig
from vitrine.server.process.line import QUESTION
from vitrine.server.process.port import can_be_shared, reserve_port
from vitrine.server.service_config import ServiceConfig
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")

ONE_IMAGE = pb.ClassifyRequest(pixels=pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)))
HOURS = ("--propagation-seconds", "7200")
"""Leaves time for things to happen between the signal and the drain."""


@dataclass(frozen=True)
class Workers:
    """A server of several workers."""

    target: str
    supervisor: "subprocess.Popen[str]"
    log: Log

    def ready(self, times: int) -> list[int]:
        """The processes of all workers that have been ready, once there are so many."""
        return [int(pid) for pid in self.log.wait_for(r"worker (\d+) is ready", times)]


@contextmanager
def running_workers(
    *arguments: str | Path, workers: int = 2, program: Sequence[str | Path] = (SERVER,)
) -> Iterator[Workers]:
    settings = (*arguments, "--workers", str(workers))
    with open_log() as (pipe, log), logged_server(pipe, *settings, program=program) as server:
        yield Workers(server.target, server.process, log)


def impatient(**constants: object) -> tuple[str, ...]:
    """A program of the server whose supervisor has other constants."""
    changes = "".join(f"supervisor.{name} = {value!r}; " for name, value in constants.items())
    start = "from vitrine.server.cli import main; main()"
    return sys.executable, "-c", f"from vitrine.server.process import supervisor; {changes}{start}"


class Stream:
    """A stream of requests on a connection of its own, of which one is answered already."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(target, OWN_CONNECTION)
        self._requests: queue.SimpleQueue[pb.ClassifyStreamRequest | None] = queue.SimpleQueue()
        self._answers = ClassifierServiceStub(self.channel).ClassifyStream(iter(self._requests.get, None))
        self.ask()

    def ask(self) -> None:
        self._requests.put(pb.ClassifyStreamRequest(request=ONE_IMAGE))
        assert len(next(self._answers).response.digits) == 1

    def finish(self) -> None:
        self._requests.put(None)
        assert list(self._answers) == []
        self.channel.close()


def watch_health(target: str) -> Any:
    """The states of the server's health, the first of which has been heard."""
    channel = grpc.insecure_channel(target, OWN_CONNECTION)
    health: Any = health_pb2_grpc.HealthStub(channel)
    states = health.Watch(health_pb2.HealthCheckRequest())
    assert next(states).status == health_pb2.HealthCheckResponse.SERVING
    return states


def open_sockets(pid: int) -> int:
    return sum(str(file.readlink()).startswith("socket:") for file in Path(f"/proc/{pid}/fd").iterdir())


def test_clients_are_spread_over_all_workers(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, workers=3) as server, ExitStack() as clients:
        before = {pid: open_sockets(pid) for pid in server.ready(3)}
        for _ in range(48):
            assert clients.enter_context(Client(server.target)).health()
        more = [open_sockets(pid) - count for pid, count in before.items()]
        assert all(more)
        assert sum(more) == 48


def test_a_server_consists_of_its_supervisor_and_its_workers(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        assert sorted(process_tree(server.supervisor.pid)) == sorted([server.supervisor.pid, *server.ready(2)])


def test_a_worker_has_the_options_of_the_supervisors_interpreter(tiny_artifact: Path) -> None:
    program = (sys.executable, "-O", "-W", "ignore::ImportWarning", SERVER)
    flags = ("--frontend", "grpc", "--workers", "2")
    with logged_server(None, tiny_artifact, *flags, program=program) as server:
        worker, *_ = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        words = Path(f"/proc/{worker}/cmdline").read_text().split("\0")
        assert {"-O", "-Wignore::ImportWarning"} <= set(words)


def test_a_worker_has_the_modules_of_an_isolated_interpreter(tiny_artifact: Path) -> None:
    """Programs in one file run so, and find their modules by themselves."""
    start = f"import sys; sys.path[:] = {sys.path!r}; from vitrine.server.cli import main; main()"
    program = (sys.executable, "-I", "-S", "-c", start)
    flags = ("--frontend", "grpc", "--workers", "2")
    with logged_server(None, tiny_artifact, *flags, program=program) as server:
        assert server.stop() == 0


def test_a_line_of_the_log_says_which_process_wrote_it(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        assert sorted(map(int, server.log.wait_for(r"(\d+) INFO \S+: model", 2))) == sorted(server.ready(2))


def test_a_killed_worker_is_replaced_and_no_call_with_retries_fails(
    tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    enough = threading.Event()

    def call(client: Client) -> int:
        calls = 0
        while not enough.is_set():
            answers = client.classify_many(pixels, preparation="none", activations="all")
            assert len(list(answers)) == len(pixels)
            calls += 1
        return calls

    with running_workers(tiny_artifact) as server, ThreadPoolExecutor(4) as pool, ExitStack() as clients:
        calling = [pool.submit(call, clients.enter_context(Client(server.target))) for _ in range(4)]
        try:
            for kill in range(3):
                victim = server.ready(2 + kill)[kill]  # the one that has been there longest
                os.kill(victim, signal.SIGKILL)
                server.log.wait_for(rf"worker {victim} ended with (SIGKILL)")
                server.log.wait_for(rf"worker (\d+) starts in place of {victim}\b")
            server.ready(5)
        finally:
            enough.set()
        assert all(call.result() for call in calling)


def test_a_worker_that_is_asked_to_leave_alone_drains_and_is_replaced(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        victim = server.ready(2)[0]
        os.kill(victim, signal.SIGTERM)
        server.log.wait_for(rf"worker {victim} ended with (exit status 0)")
        server.ready(3)


@pytest.mark.parametrize("workers", ["2", "auto"])
def test_a_model_that_fails_its_check_is_said_once(tmp_path: Path, workers: str) -> None:
    path = tmp_path / "hello.onnx"
    path.write_text("hello")
    said = refused_start(path, "--workers", workers)
    assert said.count("it isn't an ONNX file, or is cut off") == 1


def test_workers_that_end_again_and_again_end_the_server_once_no_other_answers(
    tiny_artifact: Path, tmp_path: Path
) -> None:
    model = shutil.copy(tiny_artifact, tmp_path / "model.onnx")
    quick = impatient(PAUSES=(0.0, 0.0))
    with running_workers(model, program=quick) as server, Client(server.target) as client:
        victim, other = server.ready(2)
        Path(model).write_text("hello")
        os.kill(victim, signal.SIGKILL)
        server.log.wait_for(r"worker \d+ ended with (exit status 1: .*isn't an ONNX file)", 4)
        assert client.health()  # the other answers on
        os.kill(other, signal.SIGKILL)
        assert server.supervisor.wait(PATIENCE_SECONDS) == 1
        (said,) = server.log.wait_for(r"vitrine-server: (.*)")
        assert "workers in a row ended before they had answered for 3 s, the last with exit status 1: " in said


def test_workers_that_answered_for_a_while_are_replaced_however_often_they_die(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, program=impatient(STEADY_SECONDS=0.0, PAUSES=(0.0,))) as server:
        for victim in server.ready(2):
            os.kill(victim, signal.SIGKILL)
        server.ready(4)


def launched(preparing: str) -> tuple[str, ...]:
    """A program of the server whose launcher has prepared its process in some way."""
    return sys.executable, "-c", f"import os, signal; {preparing}; from vitrine.server.cli import main; main()"


def test_an_end_is_seen_that_no_signal_tells_of(tiny_artifact: Path) -> None:
    blocking = "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})"
    with running_workers(tiny_artifact, program=launched(blocking)) as server:
        os.kill(server.ready(2)[0], signal.SIGKILL)
        server.ready(3)


def test_workers_have_nothing_to_do_with_the_terminal(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, program=launched("os.dup2(os.pipe()[0], 0)")) as server:
        assert {str(Path(f"/proc/{pid}/fd/0").readlink()) for pid in server.ready(2)} == {os.devnull}


def test_a_worker_that_hangs_is_killed_when_the_server_stops(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, "--drain-seconds", "0.1", "--hang-seconds", "0", program=graceless()) as server:
        stuck = server.ready(2)[0]
        os.kill(stuck, signal.SIGSTOP)
        server.supervisor.terminate()
        assert server.supervisor.wait(PATIENCE_SECONDS) == 0
        server.log.wait_for(rf"worker {stuck} (hangs, and is killed)")


def test_a_stopped_worker_is_killed_and_replaced_and_counted(tiny_artifact: Path) -> None:
    flags = ("--hang-seconds", "1", "--metrics-port", "0")
    with running_workers(tiny_artifact, *flags, program=impatient(ASK_SECONDS=0.1)) as server:
        stuck = server.ready(2)[0]
        os.kill(stuck, signal.SIGSTOP)
        server.log.wait_for(rf"worker {stuck} (hasn't answered for 1 s, and is killed)")
        server.log.wait_for(rf"worker (\d+) starts in place of {stuck}\b")
        server.ready(3)
        wait_until(lambda: "vitrine_ready 2.0" in scrape(server))
        hangs = len(server.log.all("and is killed"))  # on a very busy machine, perhaps another worker's, too
        wait_until(lambda: f"vitrine_worker_hangs_total {hangs}.0" in scrape(server))


class Asked(supervisor._Worker):
    """The supervisor's side of a worker without a process, which answers when it is told to."""

    pid = 0

    def __init__(self) -> None:
        self._line, self._its_end = Pipe()
        self.unanswered, self.ready, self.kills = 0, False, 0
        self.reported, self.exited = asyncio.Event(), asyncio.Event()

    def answer(self) -> None:
        """Answers the question in the line, and the supervisor reads it."""
        assert self._its_end.poll()
        assert self._its_end.recv_bytes() == QUESTION
        self._its_end.send(True)
        self._read_report()

    def kill(self) -> None:
        self.kills += 1

    def close(self) -> None:
        self._line.close()
        self._its_end.close()


@pytest.mark.parametrize(("hang_seconds", "unanswered"), [(0.2, 1), (1.0, 1), (1.2, 2), (9.0, 9)])
def test_a_worker_is_killed_when_it_leaves_questions_unanswered_and_never_before(
    hang_seconds: float, unanswered: int
) -> None:
    """A limit below the time between two questions counts from the first question without an answer, too."""
    config = ServerConfig(grpc=GrpcConfig(port=0), process=ProcessConfig(1, hang_seconds=hang_seconds))
    slot = supervisor._Slot(0, config, log_nothing, asyncio.Event(), [], None)
    with closing(Asked()) as worker:
        slot.worker = worker
        for _ in range(round(supervisor.START_SECONDS / supervisor.ASK_SECONDS)):  # while it starts
            slot.ask()
        for _ in range(20):
            worker.answer()
            for _ in range(unanswered):
                slot.ask()
        assert worker.kills == 0
        slot.ask()
        assert worker.kills == 1


def log_nothing() -> None:
    """The log of such a worker."""


async def test_a_worker_whose_event_loop_hangs_is_killed_and_replaced(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "PROGRAM", "support.hanging_worker")
    monkeypatch.setattr(supervisor, "ASK_SECONDS", 0.02)
    monkeypatch.setattr(supervisor, "START_SECONDS", 2_000.0)  # it isn't killed before it has said that it is ready
    monkeypatch.setattr(process_config, "GRACE_SECONDS", 0.0)
    config = ServerConfig(grpc=GrpcConfig(port=0), process=ProcessConfig(1, drain_seconds=0.0, hang_seconds=0.2))
    with caplog.at_level(logging.INFO):
        serving = asyncio.ensure_future(supervisor.supervise(config, lambda _: None, log_nothing))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "in place of" not in caplog.text:
                await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, PATIENCE_SECONDS)
    assert "hasn't answered for 0.2 s, and is killed" in caplog.text


def test_a_stopped_worker_does_not_count_as_ready(tiny_artifact: Path) -> None:
    flags = ("--hang-seconds", "0", "--metrics-port", "0")
    with running_workers(tiny_artifact, *flags, program=impatient(ASK_SECONDS=0.05)) as server:
        stuck = server.ready(2)[0]
        wait_until(lambda: "vitrine_ready 2.0" in scrape(server))
        os.kill(stuck, signal.SIGSTOP)
        wait_until(lambda: "vitrine_ready 1.0" in scrape(server))
        os.kill(stuck, signal.SIGCONT)
        wait_until(lambda: "vitrine_ready 2.0" in scrape(server))


async def test_a_worker_that_never_comes_to_answer_is_replaced(
    tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The second of the starting workers is stopped before its event loop runs."""

    async def logged(pattern: str, times: int) -> list[str]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found := re.findall(pattern, caplog.text)) < times:
                await asyncio.sleep(LOOK_SECONDS)
        return found

    monkeypatch.setattr(supervisor, "ASK_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "START_SECONDS", 2_000.0)  # no other worker is too slow
    config = ServerConfig(ServiceConfig(tiny_artifact), GrpcConfig(port=0), process=ProcessConfig(2, hang_seconds=5.0))
    with caplog.at_level(logging.INFO):
        serving = asyncio.ensure_future(supervisor.supervise(config, lambda _: None, log_nothing))
        await logged(r"worker \d+ is ready", 1)
        stuck = int((await logged(r"worker (\d+) starts", 2))[1])
        os.kill(stuck, signal.SIGSTOP)
        monkeypatch.setattr(supervisor, "START_SECONDS", 0.0)
        await logged(rf"worker {stuck} hasn't answered for 5 s, and is killed", 1)
        monkeypatch.setattr(supervisor, "START_SECONDS", 2_000.0)
        await logged(r"worker \d+ is ready", 2)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(serving, PATIENCE_SECONDS)


def graceless() -> tuple[str, ...]:
    """A program of the server that gives workers hardly any time beyond their drain."""
    start = "from vitrine.server.cli import main; main()"
    return sys.executable, "-c", f"from vitrine.server.process import config; config.GRACE_SECONDS = 0.1; {start}"


def scrape(server: Workers) -> str:
    with urlopen(server.log.wait_for(r"metrics are at (\S+)")[0], timeout=PATIENCE_SECONDS) as answer:
        return str(answer.read().decode())


def wait_until(so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not so():
        assert time.monotonic() < deadline
        time.sleep(LOOK_SECONDS)


def test_a_supervisor_that_fails_leaves_no_worker_behind(tiny_artifact: Path) -> None:
    failing = impatient(address_of=None)  # it can't write its address down
    with open_log() as (pipe, log):
        command = [*failing, str(tiny_artifact), "--port", "0", "--workers", "2"]
        assert subprocess.run(command, stderr=pipe, timeout=PATIENCE_SECONDS, check=False).returncode == 1
        log.wait_for(r"worker \d+ ended with (exit status 0)", 2)


def test_sigterm_lets_every_worker_finish_what_is_under_way(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        streams, health = [Stream(server.target) for _ in range(16)], watch_health(server.target)
        server.supervisor.terminate()
        assert [state.status for state in health] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        for stream in streams:
            stream.ask()
            stream.finish()
        assert server.supervisor.wait(PATIENCE_SECONDS) == 0
        assert len(server.log.wait_for(r"worker \d+ (ended with exit status 0)", 2)) == 2


def test_a_terminals_ctrl_c_lets_every_worker_finish(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        streams, health = [Stream(server.target) for _ in range(16)], watch_health(server.target)
        os.killpg(server.supervisor.pid, signal.SIGINT)
        assert [state.status for state in health] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        for stream in streams:
            stream.ask()
            stream.finish()
        assert server.supervisor.wait(PATIENCE_SECONDS) == 0


def test_a_worker_that_gets_the_supervisors_signal_too_goes_on_draining(tiny_artifact: Path) -> None:
    """Service managers send theirs to every process of a service."""
    with running_workers(tiny_artifact) as server:
        streams = [Stream(server.target) for _ in range(16)]
        server.supervisor.terminate()
        server.log.wait_for(r"(draining)", 2)
        for pid in server.ready(2):
            os.kill(pid, signal.SIGTERM)
            os.kill(pid, signal.SIGINT)
        for stream in streams:
            stream.ask()
            stream.finish()
        assert server.supervisor.wait(PATIENCE_SECONDS) == 0
        assert len(server.log.wait_for(r"worker \d+ (ended with exit status 0)", 2)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_workers_start_ends_them_quietly(tiny_artifact: Path, number: signal.Signals) -> None:
    with open_log() as (pipe, log), launched_server(pipe, tiny_artifact, "--workers", "2") as server:
        log.wait_for(r"worker (\d+) starts")
        os.killpg(server.pid, number) if number == signal.SIGINT else server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0
        assert server.stdout is not None
        assert server.stdout.read() == ""
    assert log.all(r"worker \d+ ended with (.*)") == ["exit status 0"]
    assert "Traceback" not in log.text


def test_a_second_signal_ends_all_at_once(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, *HOURS) as server:
        health = watch_health(server.target)
        server.supervisor.terminate()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        server.supervisor.terminate()
        assert server.supervisor.wait(PATIENCE_SECONDS) == 128 + signal.SIGTERM


def test_a_worker_that_dies_while_it_drains_is_not_replaced(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact, *HOURS) as server:
        workers, health = server.ready(2), watch_health(server.target)
        server.supervisor.terminate()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        assert server.supervisor.wait(PATIENCE_SECONDS) == 0
    assert len(server.log.all(r"worker (\d+) starts")) == 2


def test_workers_whose_supervisor_is_killed_drain_and_leave(tiny_artifact: Path) -> None:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--workers", "2") as server:
        streams, health = [Stream(server.target) for _ in range(8)], watch_health(server.target)
        server.process.kill()
        assert [state.status for state in health] == [health_pb2.HealthCheckResponse.NOT_SERVING]
        for stream in streams:
            stream.ask()
            stream.finish()
        assert len(log.wait_for(r"(stopped)", 2)) == 2
    host, _, number = server.target.rpartition(":")  # open_log has seen that nobody is left
    with socket.create_server((host, int(number))):
        pass


def test_a_stopped_worker_whose_supervisor_is_killed_leaves_too(tiny_artifact: Path) -> None:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--workers", "2") as server:
        stuck = int(log.wait_for(r"worker (\d+) is ready", 2)[0])
        os.kill(stuck, signal.SIGSTOP)
        server.process.kill()
        assert len(log.wait_for(r"(stopped)", 2)) == 2  # open_log sees that nobody is left


def test_a_worker_that_hangs_without_a_supervisor_ends_itself() -> None:
    program = """
import sys, time
from vitrine.server.process import worker
supervisor, line = worker.multiprocessing.Pipe()
supervisor.close()
worker._limit_end(line.fileno(), 0.0)
time.sleep(3600)
"""
    program = program.replace("worker.multiprocessing", "__import__('multiprocessing')")
    hanging = subprocess.run([sys.executable, "-c", program], timeout=PATIENCE_SECONDS, check=False)
    assert hanging.returncode == 1


def test_a_taken_port_is_refused_before_any_worker_starts(tiny_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        said = refused_start(tiny_artifact, "--workers", "2", "--port", str(number))
    assert f"can't listen on 127.0.0.1:{number}" in said
    assert "starts" not in said


def test_a_port_that_other_workers_share_is_refused(tiny_artifact: Path) -> None:
    with running_workers(tiny_artifact) as server:
        number = server.target.rpartition(":")[2]
        for workers in ("1", "2"):
            assert "can't listen on" in refused_start(tiny_artifact, "--workers", workers, "--port", number)


def test_a_port_that_is_held_is_refused_before_any_worker_listens() -> None:
    with (
        reserve_port("127.0.0.1", 0) as number,
        pytest.raises(StartupError),
        reserve_port("127.0.0.1", number),
    ):
        pass


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_can_be_listened_on(tiny_artifact: Path, host: str, workers: str) -> None:
    with running_server(tiny_artifact, "--host", host, "--workers", workers) as server:
        assert server.target.startswith("[::1]:")
        with Client(server.target) as client:
            assert client.health()


def test_a_hosts_name_can_be_listened_on(tiny_artifact: Path) -> None:
    with running_server(tiny_artifact, "--host", "localhost", "--workers", "2") as server, Client(server.target) as it:
        assert it.health()


def test_where_a_port_cant_be_shared_one_process_runs_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(command, "can_be_shared", lambda: False)
    assert command._possible(ProcessConfig(4)) == ProcessConfig(1)
    assert "running 1 worker, not 4" in caplog.text


def test_a_number_of_workers_below_one_is_refused() -> None:
    with open_log() as (pipe, log), launched_server(pipe, "--workers", "0") as server:
        assert server.wait(PATIENCE_SECONDS) == 2
    assert "Invalid value for '--workers'" in log.text
