"""Downloads from real servers on loopback: whole, interrupted, corrupt, resumed, and from the next mirror."""

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from vitrine.training import DownloadError, TrainingError
from vitrine.training.data.download import RemoteFile, download
from vitrine.training.files.lock import locked

CONTENT = np.random.default_rng(0).bytes(300_000)
FILE = RemoteFile("digits.gz", hashlib.md5(CONTENT).hexdigest())
HALF = len(CONTENT) // 2
LOCK = f"{FILE.name}.lock"


@dataclass
class Mirror:
    """A server of one file, with the requests that it received."""

    content: bytes = CONTENT
    breaks_off_after: int | None = None
    knows_ranges: bool = True
    status: int | None = None
    hangs: bool = False
    says_length: bool = True
    while_asked: Callable[[], None] = lambda: None
    ranges: list[str | None] = field(default_factory=list)
    url: str = ""
    closing: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers["Range"]
        self.ranges.append(asked)
        self.while_asked()
        if self.hangs:
            self.closing.wait(30)
        elif self.status is not None:
            request.send_error(self.status)
        elif asked and self.knows_ranges:
            self._answer_range(request, int(asked.removeprefix("bytes=").removesuffix("-")))
        else:
            self._send(request, 200, self.content)

    def _answer_range(self, request: BaseHTTPRequestHandler, start: int) -> None:
        if start >= len(self.content):
            request.send_error(416)
        else:
            self._send(request, 206, self.content[start:])

    def _send(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        request.send_response(status)
        if self.says_length:
            request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body[: self.breaks_off_after])


class Mirrors:
    """Starts servers, and stops them all."""

    def __init__(self) -> None:
        self._running: list[tuple[ThreadingHTTPServer, threading.Thread, Mirror]] = []

    def start(self, mirror: Mirror) -> Mirror:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        mirror.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        self._running.append((server, thread, mirror))
        return mirror

    def stop(self) -> None:
        for server, thread, mirror in self._running:
            mirror.closing.set()
            server.shutdown()
            server.server_close()
            thread.join()


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    running = Mirrors()
    yield running
    running.stop()


def fetch(folder: Path, *mirrors: Mirror, timeout: float = 10.0) -> bytes:
    path = download(FILE, folder, [mirror.url for mirror in mirrors], timeout=timeout, progress=False)
    assert {entry.name for entry in folder.iterdir()} <= {FILE.name, LOCK}  # no .part is left
    return path.read_bytes()


def test_a_file_is_fetched_once(tmp_path: Path, mirrors: Mirrors) -> None:
    mirror = mirrors.start(Mirror())
    assert fetch(tmp_path, mirror) == fetch(tmp_path, mirror) == CONTENT
    assert mirror.ranges == [None]


def test_a_damaged_file_that_is_there_is_fetched_anew(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / FILE.name).write_bytes(CONTENT[:-1])
    assert fetch(tmp_path, mirrors.start(Mirror())) == CONTENT


def test_what_one_mirror_broke_off_the_next_one_goes_on_with(tmp_path: Path, mirrors: Mirrors) -> None:
    first, second = mirrors.start(Mirror(breaks_off_after=HALF)), mirrors.start(Mirror())
    assert fetch(tmp_path, first, second) == CONTENT
    assert second.ranges == [f"bytes={HALF}-"]


def test_a_later_attempt_goes_on_where_the_first_one_broke_off(tmp_path: Path, mirrors: Mirrors) -> None:
    broken = mirrors.start(Mirror(breaks_off_after=HALF))
    with pytest.raises(DownloadError, match=r"broke off after 150,000 of 300,000 bytes"):
        fetch(tmp_path, broken)
    whole = mirrors.start(Mirror())
    assert fetch(tmp_path, whole) == CONTENT
    assert whole.ranges == [f"bytes={HALF}-"]


def test_a_mirror_without_ranges_sends_all_of_it_again(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{FILE.name}.part").write_bytes(CONTENT[:HALF])
    assert fetch(tmp_path, mirrors.start(Mirror(knows_ranges=False))) == CONTENT


def test_a_part_that_is_whole_needs_only_its_name(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{FILE.name}.part").write_bytes(CONTENT)
    assert fetch(tmp_path, mirrors.start(Mirror())) == CONTENT


def test_a_part_of_something_else_is_thrown_away(tmp_path: Path, mirrors: Mirrors) -> None:
    (tmp_path / f"{FILE.name}.part").write_bytes(b"something else")
    mirror = mirrors.start(Mirror())
    assert fetch(tmp_path, mirror) == CONTENT
    assert mirror.ranges == ["bytes=14-", None]


def test_corrupt_bytes_send_to_the_next_mirror(tmp_path: Path, mirrors: Mirrors) -> None:
    corrupt = mirrors.start(Mirror(content=CONTENT[:-1] + b"!"))
    assert fetch(tmp_path, corrupt, mirrors.start(Mirror())) == CONTENT


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_sends_to_the_next_mirror(tmp_path: Path, mirrors: Mirrors, status: int) -> None:
    assert fetch(tmp_path, mirrors.start(Mirror(status=status)), mirrors.start(Mirror())) == CONTENT


def test_a_mirror_that_says_nothing_is_given_up(tmp_path: Path, mirrors: Mirrors) -> None:
    silent = mirrors.start(Mirror(hangs=True))
    assert fetch(tmp_path, silent, mirrors.start(Mirror()), timeout=0.2) == CONTENT


def test_when_all_mirrors_fail_the_error_says_what_each_did_and_what_to_do(tmp_path: Path, mirrors: Mirrors) -> None:
    corrupt, absent = mirrors.start(Mirror(content=b"corrupt")), mirrors.start(Mirror(status=404))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        nobody = Mirror(url=f"http://127.0.0.1:{unused.getsockname()[1]}/")
    with pytest.raises(DownloadError) as caught:
        fetch(tmp_path, corrupt, absent, nobody)
    for part in (corrupt.url, "checksum is wrong", absent.url, "404", nobody.url, "refused", "--data-dir"):
        assert part in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]


def test_a_mirror_that_says_no_length_is_believed_by_the_checksum(tmp_path: Path, mirrors: Mirrors) -> None:
    broken = mirrors.start(Mirror(says_length=False, breaks_off_after=HALF, knows_ranges=False))
    whole = mirrors.start(Mirror(says_length=False, knows_ranges=False))
    assert fetch(tmp_path, broken, whole) == CONTENT


def test_what_another_process_fetched_meanwhile_is_not_fetched_again(
    tmp_path: Path, mirrors: Mirrors, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def after_another(_path: Path) -> Iterator[None]:
        (tmp_path / FILE.name).write_bytes(CONTENT)
        yield

    monkeypatch.setattr("vitrine.training.data.download.locked", after_another)
    mirror = mirrors.start(Mirror())
    assert fetch(tmp_path, mirror) == CONTENT
    assert mirror.ranges == []


def test_nobody_else_writes_while_a_file_is_fetched(tmp_path: Path, mirrors: Mirrors) -> None:
    refusals = []

    def try_too() -> None:
        try:
            with locked(tmp_path / LOCK, wait=False):
                pass
        except TrainingError as error:
            refusals.append(error)

    fetch(tmp_path, mirrors.start(Mirror(while_asked=try_too)))
    assert len(refusals) == 1


def test_a_file_that_can_not_take_its_name_is_an_error_that_says_so(tmp_path: Path, mirrors: Mirrors) -> None:
    blocked = tmp_path / FILE.name

    def block() -> None:
        blocked.mkdir()

    with pytest.raises(DownloadError, match="directory"):
        fetch(tmp_path, mirrors.start(Mirror(while_asked=block)))
