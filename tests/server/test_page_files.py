"""The page's files: what a browser gets, whichever host carries them, and what it never gets."""

import gzip
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.http_calls import Posted, connect, post
from support.serving import logged_server, open_log, running_server

from vitrine.server.frontends.asgi.page.files import CONTENT_TYPES, STATIC, read_files

HOSTS = ["uvicorn", *(["envoy"] if find_spec("pyvoy") else [])]


@contextmanager
def http_server(host: str, *arguments: str | Path) -> Iterator[str]:
    """A server that speaks HTTP/1.1: its address."""
    if host == "envoy":
        with running_server(*arguments, "--frontend", "envoy") as server:
            yield server.target
        return
    words = [*arguments, "--frontend", "grpc", "--http-port", "0"]
    with open_log() as (pipe, log), logged_server(pipe, *words):
        yield log.wait_for(r"Connect and gRPC-Web are at http://(\S+)")[0]


@pytest.fixture(scope="module", params=HOSTS)
def address(request: pytest.FixtureRequest, tiny_artifact: Path) -> Iterator[str]:
    with http_server(str(request.param), tiny_artifact) as address:
        yield address


def get(address: str, path: str, method: str = "GET", **headers: str) -> Posted:
    """The answer to a request without a body."""
    with closing(connect(address)) as connection:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Posted(response.status, dict(response.headers), response.read())


def test_every_file_has_its_type_and_the_pages_policy(address: str) -> None:
    paths = read_files()
    assert len(paths) > 10
    for path, file in paths.items():
        answer = get(address, path)
        assert (answer.status, answer.body) == (200, file.plain)
        assert answer.headers["content-type"].encode() == file.content_type
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'")
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert get(address, "/").headers["content-type"] == "text/html; charset=utf-8"


def test_no_other_origin_is_let_in(address: str) -> None:
    answer = get(address, "/", origin="http://elsewhere.example")
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_a_file_that_is_known_is_not_sent_again(address: str) -> None:
    first = get(address, "/js/main.js")
    known = get(address, "/js/main.js", if_none_match=first.headers["etag"])
    assert (known.status, known.body) == (304, b"")
    assert known.headers["etag"] == first.headers["etag"]
    assert get(address, "/js/main.js", if_none_match='"another"').status == 200
    assert first.headers["cache-control"] == "no-cache"


def test_a_file_is_compressed_where_that_is_understood(address: str) -> None:
    plain, packed = get(address, "/js/main.js"), get(address, "/js/main.js", accept_encoding="br, gzip")
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < len(plain.body) / 2
    assert packed.headers["vary"] == plain.headers["vary"] == "accept-encoding"


def test_a_head_has_no_body(address: str) -> None:
    head, whole = get(address, "/", "HEAD"), get(address, "/")
    assert (head.status, head.body) == (200, b"")
    assert head.headers == whole.headers


def test_files_are_read_and_nothing_else(address: str) -> None:
    answer = post(address, "/", b"{}", content_type="application/json")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/index.html", "/js", "/js/", "/js/nothing.js", "/../files.py", "//", "/files.py"])
def test_there_is_nothing_else_to_get(address: str, path: str) -> None:
    assert get(address, path).status == 404


@pytest.mark.parametrize("host", HOSTS)
def test_no_page_where_it_is_turned_off(host: str, tiny_artifact: Path) -> None:
    with http_server(host, tiny_artifact, "--no-page") as address:
        assert get(address, "/").status == 404
        assert get(address, "/js/main.js").status == 404


def test_all_files_of_the_folder_are_served_and_weigh_little() -> None:
    there = [path for path in Path(str(STATIC)).rglob("*") if path.is_file()]
    assert {path.suffix for path in there} <= CONTENT_TYPES.keys()
    assert len(there) == len(read_files())
    assert sum(path.stat().st_size for path in there) < 100_000
