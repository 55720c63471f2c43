"""Envoy as the front end: what is its own, beside the whole suite, which passes through it with TEST_FRONTEND=envoy."""

import asyncio
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from multiprocessing.connection import Pipe
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.request import urlopen

import grpc
import pytest
from support.serving import PATIENCE_SECONDS, SERVER, Log, RunningServer, logged_server, open_log, refused_start

from vitrine.client import Client
from vitrine.server.frontends.asgi.envoy import ask, log_failed_callback
from vitrine.server.frontends.asgi.envoy_config import EnvoyFiles, envoy_config
from vitrine.server.frontends.grpc.config import GrpcConfig
from vitrine.server.inference.connections import ConnectionConfig
from vitrine.server.process import embedded
from vitrine.server.process.config import ServerConfig
from vitrine.server.process.envoy import Handover, start_envoy
from vitrine.server.process.line import Line
from vitrine.server.security.certificates import Certificates, TlsFiles
from vitrine.server.service_config import ServiceConfig
from vitrine.server.temporary_folder import LOCK
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub


def configured(config: GrpcConfig, folder: Path) -> Any:
    """The configuration as Envoy reads it."""
    connections = ConnectionConfig(max_connections=90, max_age_seconds=300)
    return json.loads(json.dumps(envoy_config(config, "module:name", EnvoyFiles(folder, worker=7), connections)))


def test_a_host_with_several_addresses_is_listened_on_at_all_of_them(tmp_path: Path) -> None:
    (listener,) = configured(GrpcConfig("localhost", 4711), tmp_path)["static_resources"]["listeners"]
    addresses = [listener["address"], *(further["address"] for further in listener["additional_addresses"])]
    assert {address["socket_address"]["port_value"] for address in addresses} == {4711}
    assert "127.0.0.1" in {address["socket_address"]["address"] for address in addresses}


def test_a_port_for_http_is_listened_on_beside_the_other(tmp_path: Path) -> None:
    connections = ConnectionConfig()
    written: Any = envoy_config(
        GrpcConfig("127.0.0.1", 4711), "module:name", EnvoyFiles(tmp_path, 7), connections, 8080
    )
    (listener,) = written["static_resources"]["listeners"]
    addresses = [listener["address"], *(further["address"] for further in listener["additional_addresses"])]
    assert [address["socket_address"]["port_value"] for address in addresses] == [4711, 8080]


def test_the_admin_interface_is_a_socket_of_the_servers_user_alone(tmp_path: Path) -> None:
    pipe = configured(GrpcConfig(), tmp_path)["admin"]["address"]["pipe"]
    assert pipe == {"path": str(tmp_path / "7.sock"), "mode": 0o600}


@pytest.mark.parametrize("client_ca", [None, Path("ca.pem")])
def test_mutual_tls_asks_clients_for_certificates(tmp_path: Path, client_ca: Path | None) -> None:
    tls = TlsFiles(Path("cert.pem"), Path("key.pem"), client_ca)
    (listener,) = configured(GrpcConfig(tls=tls), tmp_path)["static_resources"]["listeners"]
    socket = listener["filter_chains"][0]["transport_socket"]["typed_config"]
    assert socket["require_client_certificate"] is (client_ca is not None)
    assert ("validation_context_sds_secret_config" in socket["common_tls_context"]) is (client_ca is not None)


def test_what_envoy_takes_in_beforehand_is_bounded(tmp_path: Path) -> None:
    written = configured(GrpcConfig(), tmp_path)
    (monitor,) = written["overload_manager"]["resource_monitors"]
    assert 90 < monitor["typed_config"]["max_active_downstream_connections"] <= 110
    http = written["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    assert http["http2_protocol_options"]["initial_connection_window_size"] <= 1 << 20


def test_nobody_else_can_read_the_key_that_envoy_gets(tmp_path: Path) -> None:
    files = EnvoyFiles(tmp_path, worker=7)
    for _ in range(2):
        files.write(Certificates(b"chain", b"key", b"authorities", "a", expires=0.0))
        assert [path.stat().st_mode & 0o777 for path in (files.certificate, files.authorities)] == [0o600] * 2
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_can_be_printed(tiny_artifact: Path) -> None:
    words = (SERVER, "--frontend", "envoy", "--port", "4711", "--print-envoy-config")
    printed: Mapping[str, Any] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    (listener,) = printed["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["port_value"] == 4711


@contextmanager
def envoy(tiny_artifact: Path, *arguments: str) -> Iterator[tuple[RunningServer, Log]]:
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, "--frontend", "envoy", *arguments) as server:
        yield server, log


def classify(target: str) -> int:
    with grpc.insecure_channel(target) as channel:
        stub: Any = ClassifierServiceStub(channel)
        pixels = pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324))
        return len(stub.Classify(pb.ClassifyRequest(pixels=pixels), timeout=PATIENCE_SECONDS).digits)


def test_a_worker_that_is_killed_is_replaced(tiny_artifact: Path) -> None:
    with envoy(tiny_artifact) as (server, log):
        (first,) = log.wait_for(r"worker (\d+) is ready")
        os.kill(int(first), signal.SIGKILL)
        log.wait_for(r"worker (\d+) is ready", times=2)
        assert classify(server.target) == 1
        assert server.stop() == 0


def test_a_full_disk_or_pipe_is_no_signal_for_the_worker(tiny_artifact: Path) -> None:
    with envoy(tiny_artifact) as (server, log):
        (worker,) = log.wait_for(r"worker (\d+) is ready")
        status = dict(line.split(":", 1) for line in Path("/proc", worker, "status").read_text().splitlines())
        for number in (signal.SIGXFSZ, signal.SIGPIPE):
            assert int(status["SigIgn"], 16) & 1 << (number - 1)
        assert server.stop() == 0


def test_a_port_for_http_answers_as_the_other_does(tiny_artifact: Path) -> None:
    with envoy(tiny_artifact, "--http-port", "0") as (server, log):
        (target,) = log.wait_for(r"Connect and gRPC-Web are at http://(\S+)")
        assert target != server.target
        assert [classify(port) for port in (target, server.target)] == [1, 1]
        with urlopen(f"http://{target}/") as page:
            assert b"<html" in page.read()
        assert server.stop() == 0


def test_a_signal_for_every_process_ends_no_call(tiny_artifact: Path) -> None:
    """A service manager signals all processes of a service; Envoy by itself would end at once."""
    waits = ("--max-batch-rows", "4", "--max-queue-delay-us", "3600000000")
    with envoy(tiny_artifact, *waits) as (server, log):
        (worker,) = log.wait_for(r"worker (\d+) is ready")
        with grpc.insecure_channel(server.target) as channel:
            stub: Any = ClassifierServiceStub(channel)
            pixels = pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324))
            waiting = [stub.Classify.future(pb.ClassifyRequest(pixels=pixels)) for _ in range(3)]
            with Client(server.target) as client:
                assert client.health().serving
            os.kill(int(worker), signal.SIGTERM)
            server.process.send_signal(signal.SIGTERM)
            log.wait_for("draining for up to")
            full = stub.Classify(pb.ClassifyRequest(pixels=pixels))
            assert len(full.digits) == 1
            assert [len(call.result().digits) for call in waiting] == [1] * 3
        assert server.process.wait(PATIENCE_SECONDS) == 0


def test_of_a_burst_on_one_connection_only_what_is_too_much_is_refused(tiny_artifact: Path) -> None:
    """Refusing all of it would leave none with an answer, however often they try again."""
    with (
        envoy(tiny_artifact, "--max-pending-mb", "128") as (server, _),
        grpc.insecure_channel(server.target) as channel,
    ):
        padded = pb.ClassifyRequest(model="x" * (4 << 20)).SerializeToString()  # 64 of them are four times the room
        method: Any = channel.unary_unary("/vitrine.v1.ClassifierService/Classify")
        codes = {call.code() for call in [method.future(padded, timeout=120) for _ in range(64)]}
    assert grpc.StatusCode.NOT_FOUND in codes  # the answer to those that arrived
    assert codes <= {grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_no_file_is_left_behind(tiny_artifact: Path, tmp_path: Path) -> None:
    with open_log() as (pipe, _), logged_server(pipe, tiny_artifact, "--frontend", "envoy", TMPDIR=str(tmp_path)):
        assert list(tmp_path.glob("vitrine-envoy-*/*.sock"))
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_swept_away_hold_up_no_replacement_and_no_end(tiny_artifact: Path, tmp_path: Path) -> None:
    """Cleaners of temporary files remove what hasn't been touched for days."""
    flags = ("--frontend", "envoy")
    with open_log() as (pipe, log), logged_server(pipe, tiny_artifact, *flags, TMPDIR=str(tmp_path)) as server:
        (folder,) = tmp_path.glob("vitrine-envoy-*")
        (first,) = log.wait_for(r"worker (\d+) is ready")
        shutil.rmtree(folder)
        os.kill(int(first), signal.SIGKILL)
        log.wait_for(r"worker (\d+) is ready", times=2)
        assert list(folder.glob("*.sock"))
        shutil.rmtree(folder)
        assert classify(server.target) == 1
        assert server.stop() == 0
        log.wait_for("Envoy can't be asked whether all answers have left, as its socket can't be used: .*No such file")
    assert "Traceback" not in log.text


def test_a_worker_that_cant_be_started_leaves_no_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor tries again and again where too many files are open."""

    def fail(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "memfd_create", fail)
    ours, its = Pipe()
    with ours, its, pytest.raises(OSError, match="Too many open files"):
        start_envoy(ServerConfig(envoy_folder=str(tmp_path)), its, print)
    with (tmp_path / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


async def test_a_worker_that_is_stopped_while_models_load_ends_before_it_is_ready(
    tiny_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading may take longer than the supervisor waits, which would take it for hung."""
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def load(*_: object) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()

    async def send(event: object) -> None:
        raise AssertionError(f"{event} is told to Envoy")

    monkeypatch.setattr("vitrine.server.engine.loading.load_artifact", load)
    monkeypatch.setattr(embedded, "_on_signal", lambda _: None)  # its thread would take this process's signals
    config = ServerConfig(ServiceConfig(tiny_artifact))
    handover = Handover(config, print, EnvoyFiles(tmp_path, worker=1), str(tmp_path), sys.executable)
    ours, its = Pipe()
    with its:
        serving = asyncio.ensure_future(embedded.EmbeddedServer()._serve(handover, Line(its), Mock(), send))
        await begun.wait()
        ours.close()
        try:
            await asyncio.wait_for(serving, PATIENCE_SECONDS)
        finally:
            go_on.set()


def test_the_working_directory_is_not_looked_into_for_modules(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise RuntimeError('hijacked')")
    (tmp_path / "logging.py").write_text("raise RuntimeError('hijacked')")
    command = ["sh", "-c", f'cd "{tmp_path}" && exec "$@"', "sh", str(SERVER)]
    started = logged_server(None, tiny_artifact, "--frontend", "envoy", program=command)
    with started as server:
        assert classify(server.target) == 1


def test_a_refusal_to_start_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    said = refused_start(tmp_path / "bad.onnx", "--frontend", "envoy")
    assert said.splitlines()[-1].startswith(f"vitrine-server: {tmp_path / 'bad.onnx'} is not served")


ABSENT = """
import socket
from vitrine.server.cli import main
found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
socket.getaddrinfo = lambda *_, **__: found
main()
"""


def test_an_address_that_is_not_there_is_skipped_where_another_is(tiny_artifact: Path) -> None:
    """Containers know `::1` as localhost, too, even where they have no IPv6."""
    flags, program = ("--frontend", "envoy", "--host", "localhost"), (sys.executable, "-c", ABSENT)
    with logged_server(None, tiny_artifact, *flags, program=program) as server:
        assert classify(f"127.0.0.1:{server.target.rpartition(':')[2]}") == 1


def test_a_server_whose_envoy_cannot_listen_ends(tiny_artifact: Path) -> None:
    """Envoy waits for the application's end, which must not wait for Envoy."""
    skips_none = "from vitrine.server.frontends.asgi import envoy_config\nenvoy_config._is_here = lambda *_: True\n"
    words = [sys.executable, "-c", skips_none + ABSENT, str(tiny_artifact), "--frontend", "envoy", "--port", "0"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == "vitrine-server: Envoy can't listen: the log has its reason"


async def test_an_admin_interface_that_closes_without_an_answer_cannot_be_asked(tmp_path: Path) -> None:
    """An Envoy that ends does so; it is no fault of the server's."""

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_unix_server(close, tmp_path / "admin"):
        with pytest.raises(OSError, match="without an answer"):
            await ask(tmp_path / "admin", "GET", "/ready")


def test_a_port_for_http_that_is_taken_is_refused_by_its_own_flag(tiny_artifact: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        said = refused_start(tiny_artifact, "--frontend", "envoy", "--http-port", str(taken.getsockname()[1]))
    assert "another program has the port; name another with --host and --http-port" in said


def test_the_python_inside_is_the_servers_own(tiny_artifact: Path) -> None:
    with envoy(tiny_artifact) as (server, log):
        (worker,) = log.wait_for(r"worker (\d+) is ready")
        maps = Path(f"/proc/{worker}/maps").read_text()
        assert sys.base_prefix in maps
        assert Path(f"/proc/{worker}/exe").resolve().name == "envoy"
        assert classify(server.target) == 1


@pytest.mark.parametrize(
    ("error", "handle", "logged"),
    [
        (asyncio.InvalidStateError("invalid state"), "<Handle <_pyvoy.asgi.RecvFutureExecutor object>>", False),
        (asyncio.InvalidStateError("invalid state"), "<Handle Future.set_exception>", False),
        (RuntimeError("failed"), "<Handle Future.set_result>", True),
        (asyncio.InvalidStateError("invalid state"), "<Handle deliver()>", True),
        (RuntimeError("failed"), "<Handle <_pyvoy.asgi.AppExecutor object>>", True),
    ],
)
async def test_an_event_for_a_call_that_has_ended_is_no_fault(
    error: Exception, handle: str, logged: bool, caplog: pytest.LogCaptureFixture
) -> None:
    asyncio.get_running_loop().set_exception_handler(log_failed_callback)
    context = {"message": "Exception in callback", "exception": error, "handle": Mock(__repr__=lambda _: handle)}
    asyncio.get_running_loop().call_exception_handler(context)
    assert ("Exception in callback" in caplog.text) is logged
