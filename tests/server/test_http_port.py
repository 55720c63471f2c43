"""The metrics' port: its pages, and connections that never finish."""

import gzip
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.scrapes import measured_server
from support.serving import PATIENCE_SECONDS

from vitrine.server.process.port import can_be_shared
from vitrine.server.telemetry import http_port
from vitrine.server.telemetry.http_port import CONNECTIONS, Answer, serve_pages
from vitrine.server.telemetry.liveness import ALIVE_SECONDS, READY_SECONDS, Liveness

HALF = b"GET / HTTP/1.1\r\nHost: "
SHARED_PORT = pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


@contextmanager
def echoing() -> Iterator[int]:
    """A server of one page, which says its query."""
    with serve_pages("127.0.0.1", 0, {"/": lambda request: Answer(request.query.encode())}) as port:
        yield port


def half_request(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    connection.sendall(HALF)
    return connection


def test_pages_are_answered_by_their_paths_and_others_are_not_found() -> None:
    with echoing() as port:
        assert get(port, "/?a=b")[1] == b"a=b"
        assert get(port, "/", method="HEAD")[1] == b""
        assert get(port, "/elsewhere")[0].status == 404
        assert get(port, "/", method="POST")[0].status == 405


def test_a_page_that_fails_is_an_error_of_the_server() -> None:
    def fail(_: object) -> Answer:
        raise RuntimeError("broken")

    with serve_pages("127.0.0.1", 0, {"/": fail}) as port:
        assert get(port, "/")[0].status == 500


@pytest.mark.parametrize(
    "sent", [b"\r\n\r\n", b"GET /\r\n\r\n", b"\xff\x00\r\n\r\n", HALF, b"GET / HTTP/1.1\r\n" + b"x" * 99_999]
)
def test_what_is_no_request_is_answered_with_400(sent: bytes) -> None:
    with echoing() as port:
        connection = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
        with connection, suppress(ConnectionResetError):  # closed before it had taken all that was sent
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(12) == b"HTTP/1.1 400"
        assert get(port, "/?still")[1] == b"still"


def test_half_requests_are_few_and_keep_nobody_out() -> None:
    with echoing() as port, ExitStack() as connections:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count
        held = [connections.enter_context(half_request(port)) for _ in range(10 * CONNECTIONS)]
        assert get(port, "/?still")[1] == b"still"
        assert len(os.listdir("/proc/self/fd")) - before <= len(held) + CONNECTIONS + 1  # noqa: PTH208


def test_a_half_request_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_port, "CONNECTION_SECONDS", 0.1)
    with echoing() as port, half_request(port) as connection:
        assert connection.recv(1) == b""


def test_a_process_without_descriptors_is_still_scraped() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with echoing() as port, ExitStack() as taken, socket.socket() as ours:
        ours.settimeout(PATIENCE_SECONDS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        try:
            with suppress(OSError):
                while True:
                    taken.enter_context(Path(os.devnull).open())
            ours.connect(("127.0.0.1", port))
            ours.sendall(b"GET /?still HTTP/1.1\r\n\r\n")
            assert ours.makefile("rb", buffering=0).readall().endswith(b"still")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_probes_tell_that_it_lives_and_that_it_leaves(tiny_artifact: Path, workers: str) -> None:
    with measured_server(tiny_artifact, "--workers", workers, "--propagation-seconds", "7200") as server:
        port = urlsplit(server.url).port or 0
        assert [get(port, path)[0].status for path in ("/livez", "/readyz", "/")] == [200, 200, 404]
        server.server.process.terminate()
        server.scrape_when(lambda scrape: scrape.value("vitrine_ready") == 0)
        assert [get(port, path)[0].status for path in ("/livez", "/readyz", "/metrics")] == [200, 503, 200]
        server.server.process.terminate()


def test_metrics_are_compressed_and_picked_as_a_scraper_asks(tiny_artifact: Path) -> None:
    with measured_server(tiny_artifact) as server:
        port = urlsplit(server.url).port or 0
        answer, body = get(port, "/metrics?name[]=vitrine_ready", Accept_Encoding="gzip")
        assert answer.headers["Content-Encoding"] == "gzip"
        assert [line for line in gzip.decompress(body).decode().splitlines() if line[0] != "#"] == ["vitrine_ready 1.0"]
        asked = get(port, "/metrics", Accept="application/openmetrics-text; version=1.0.0")
        assert asked[0].headers["Content-Type"].startswith("application/openmetrics-text")


def test_a_loop_that_hangs_is_neither_ready_nor_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("vitrine.server.telemetry.liveness.time.monotonic", lambda: now[0])
    liveness = Liveness()
    seen = [(liveness.ready, liveness.alive)]
    liveness.begin(lambda: 1)
    for seconds in (0.0, READY_SECONDS, ALIVE_SECONDS):
        now[0] = seconds
        seen.append((liveness.ready, liveness.alive))
    liveness.beat()
    assert [*seen, (liveness.ready, liveness.alive)] == [(0, True), (1, True), (0, True), (0, False), (1, True)]
