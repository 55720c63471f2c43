"""One client of several real servers: calls take turns, and go elsewhere when a server leaves or dies."""

import socket
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import count
from typing import TypeAlias

import grpc
import numpy as np
import pytest
from client.scripted import ScriptedServer, succeed
from support.serving import PATIENCE_SECONDS, RunningServer, running_server

from vitrine.client import Client
from vitrine.client.target import may_name_several
from vitrine.oip import inference_pb2
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

PIXELS = np.zeros((18, 18), np.uint8)
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ROUNDS = 60
"""Calls that each of several servers should get."""

Servers: TypeAlias = Sequence[RunningServer]


@pytest.fixture
def servers() -> Iterator[Servers]:
    """Three servers, each at an address of its own."""
    with ExitStack() as stack:
        yield [stack.enter_context(running_server("--port", "0", "--host", host)) for host in HOSTS]


def listed(*targets: str) -> str:
    return "ipv4:" + ",".join(targets)


def answered(server: RunningServer) -> int:
    """Images that a server has classified, as it counts them itself."""
    with grpc.insecure_channel(server.target) as channel:
        statistics = GRPCInferenceServiceStub(channel).ModelStatistics(inference_pb2.ModelStatisticsRequest())
        return sum(model.inference_count for model in statistics.model_stats)


def free_address(host: str) -> str:
    with socket.create_server((host, 0)) as found:
        return f"{host}:{found.getsockname()[1]}"


def call_until(client: Client, servers: Servers) -> None:
    """Calls until each of some servers has answered: a client connects to them one by one."""
    for _ in range(10_000):
        if all(map(answered, servers)):
            return
        client.classify(PIXELS, preparation="none", activations=None)
    raise AssertionError("some server is never called")


@pytest.mark.parametrize(
    ("target", "several"),
    [
        ("localhost:50051", False),
        ("dns:///vitrine:50051", True),
        ("dns:vitrine", True),
        ("ipv4:127.0.0.1:1", False),
        ("ipv4:127.0.0.1:1,127.0.0.2:1", True),
        ("ipv6:[::1]:1,[::1]:2", True),
        ("unix:/tmp/one,two", False),
    ],
)
def test_targets_that_may_name_several_servers(target: str, several: bool) -> None:
    assert may_name_several(target) is several


def test_calls_take_turns(servers: Servers) -> None:
    with Client(listed(*(server.target for server in servers))) as client:
        call_until(client, servers)
        before = [answered(server) for server in servers]
        for _ in range(ROUNDS * len(servers)):
            client.classify(PIXELS, preparation="none", activations=None)
        got = [answered(server) - earlier for server, earlier in zip(servers, before, strict=True)]
    assert got == [ROUNDS] * len(servers)


def test_requests_to_several_servers_are_under_way_together(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.client.sync_gathering.LONGEST_WAIT_SECONDS", PATIENCE_SECONDS)
    together = threading.Barrier(4, timeout=PATIENCE_SECONDS)

    def wait(_request: object, _context: grpc.ServicerContext) -> None:
        together.wait()

    scripted.script = [succeed, *[wait] * 4]
    with Client(f"dns:///{scripted.target}") as client, ThreadPoolExecutor(4) as threads:
        client.model()
        calls = [threads.submit(client.classify, PIXELS, preparation="none") for _ in range(4)]
        assert [call.result().digit for call in calls] == [0] * 4


def test_no_call_fails_when_servers_leave_die_and_come(servers: Servers) -> None:
    leaving, dying, staying = servers
    later = free_address("127.0.0.4")
    target = listed(*(server.target for server in servers), later)
    failures: list[Exception] = []
    done = threading.Event()
    answers = count()

    def keep_calling(client: Client) -> None:
        while not done.is_set():
            try:
                client.classify(PIXELS, preparation="none", activations=None)
            except Exception as error:
                failures.append(error)
            next(answers)

    with Client(target) as client, ExitStack() as stack:
        call_until(client, servers)
        callers = [threading.Thread(target=keep_calling, args=[client]) for _ in range(4)]
        for caller in callers:
            caller.start()
        try:
            leaving.stop()
            dying.process.kill()
            dying.process.wait(PATIENCE_SECONDS)
            host, _, port = later.rpartition(":")
            added = stack.enter_context(running_server("--port", port, "--host", host))
            call_until(client, [staying, added])
        finally:
            done.set()
            for caller in callers:
                caller.join(PATIENCE_SECONDS)
    assert failures == []
    assert next(answers) > ROUNDS


def test_an_old_connection_is_replaced_and_no_call_fails() -> None:
    connected, idle = threading.Event(), threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        if state is grpc.ChannelConnectivity.READY:
            connected.set()
        elif connected.is_set():
            idle.set()

    with (
        running_server("--port", "0", "--max-connection-age-seconds", "0.2") as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        channel.subscribe(note, try_to_connect=True)
        assert connected.wait(PATIENCE_SECONDS)
        assert idle.wait(PATIENCE_SECONDS)
        stub = GRPCInferenceServiceStub(channel)
        assert stub.ServerReady(inference_pb2.ServerReadyRequest(), wait_for_ready=True).ready
