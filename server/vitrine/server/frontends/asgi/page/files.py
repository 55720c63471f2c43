"""Serves the page's files: static, public, and small enough to be kept in memory. It knows no service and no caller."""

import gzip
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from vitrine.server.frontends.asgi.events import Event, Headers, Scope, body, start

STATIC = files("vitrine.server.frontends.asgi.page") / "static"
"""The folder of the files."""

CONTENT_TYPES: Mapping[str, bytes] = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
"""The content type of each kind of file. Files of other kinds aren't served."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
"""The page loads nothing from elsewhere, runs nothing that stands in a text, and lies in nobody's frame."""

HEADERS: Headers = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
]
"""Headers of every answer."""

READS = ("GET", "HEAD")
"""The methods that a file answers."""


@dataclass(frozen=True, slots=True)
class File:
    """One file of the page."""

    content_type: bytes
    """Its content type."""
    plain: bytes
    """Its bytes."""
    packed: bytes
    """Its bytes, compressed by gzip."""

    @property
    def tag(self) -> bytes:
        """Its entity tag, which is the same for both forms: a weak one."""
        return b'W/"%b"' % hashlib.sha256(self.plain).hexdigest()[:16].encode()

    def answer(self, scope: Scope) -> Sequence[Event]:
        """The answer to a request for it."""
        asked = dict(scope["headers"])
        cached = (b"cache-control", b"no-cache")  # kept, and asked about each time: a new server has a new page
        headers: Headers = [*HEADERS, cached, (b"etag", self.tag), (b"vary", b"accept-encoding")]
        if scope["method"] not in READS:
            return start(405, [*HEADERS, (b"allow", b"GET, HEAD"), (b"content-length", b"0")]), body(b"")
        if self.tag in asked.get(b"if-none-match", b""):
            return start(304, headers), body(b"")
        data = self.plain
        if b"gzip" in asked.get(b"accept-encoding", b""):
            data = self.packed
            headers.append((b"content-encoding", b"gzip"))
        headers += [(b"content-type", self.content_type), (b"content-length", b"%d" % len(data))]
        return start(200, headers), body(b"" if scope["method"] == "HEAD" else data)


def read_files() -> Mapping[str, File]:
    """The page's files by the paths at which they are served; its HTML is at `/`."""
    found = {}
    for path, file in _walk(STATIC, "/"):
        content_type = CONTENT_TYPES.get(path[path.rfind(".") :])
        if content_type is not None:
            data = file.read_bytes()
            found["/" if path == "/index.html" else path] = File(content_type, data, gzip.compress(data, mtime=0))
    return found


def _walk(folder: Traversable, path: str) -> Iterator[tuple[str, Traversable]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{path}{entry.name}/")
        else:
            yield path + entry.name, entry
