"""Fetches a file with a known checksum from the first mirror that gives it.

Bytes go to a `.part` file, which a later attempt goes on with, at the same mirror or the next, and which takes its
final name only when the checksum is right. One process at a time fetches a file, and others wait for it. It knows HTTP,
and nothing of what is in the file.
"""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vitrine.training.errors import DownloadError
from vitrine.training.files.lock import locked

TIMEOUT = 30.0
"""Seconds without a byte after which a mirror counts as down."""

CHUNK = 1 << 16
"""Bytes that are read at a time."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch."""

    name: str
    """Its name, at the end of every mirror's address."""
    md5: str
    """Its published checksum, in hex. MD5 tells damage, not malice: mirrors are asked over HTTPS."""


def download(
    file: RemoteFile, folder: Path, mirrors: Sequence[str], *, timeout: float = TIMEOUT, progress: bool = True
) -> Path:
    """Fetches a file, unless it is there already.

    Args:
        file: what to fetch.
        folder: where it goes.
        mirrors: addresses, each ending in a slash, tried in this order.
        timeout: seconds without a byte after which a mirror counts as down.
        progress: whether to show a bar.

    Returns:
        Where the file is.

    Raises:
        DownloadError: no mirror gave the file; the text says what each one did.
    """
    target = folder / file.name
    if _is_there(target, file):
        return target
    with locked(target.with_name(target.name + ".lock")):  # two that write the same part would damage it
        if not _is_there(target, file):  # another process may have fetched it meanwhile
            _fetch_from_first(mirrors, file, target, timeout, progress)
    return target


def _is_there(target: Path, file: RemoteFile) -> bool:
    return target.exists() and _md5(target) == file.md5


def _fetch_from_first(mirrors: Sequence[str], file: RemoteFile, target: Path, timeout: float, progress: bool) -> None:
    part = target.with_name(target.name + ".part")
    failures = []
    for mirror in mirrors:
        try:
            _fetch_checked(mirror + file.name, part, file.md5, timeout, progress)
            part.replace(target)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error}")
        else:
            return
    raise DownloadError(
        f"can't download {file.name} ({'; '.join(failures)}): try again, or fetch it elsewhere and name its folder "
        "with --data-dir"
    )


def _fetch_checked(url: str, part: Path, md5: str, timeout: float, progress: bool) -> None:
    """Fetches until the checksum is right; what another mirror began is thrown away when it doesn't fit."""
    begun = part.exists()
    for _ in range(2 if begun else 1):
        _fetch(url, part, timeout, progress)
        if _md5(part) == md5:
            return
        part.unlink()
    raise OSError("the checksum is wrong")


def _fetch(url: str, part: Path, timeout: float, progress: bool) -> None:
    """Fetches what is missing at the end of `part`; all of it where the mirror knows no ranges."""
    begun = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={begun}-"} if begun else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:  # noqa: S310 - mirrors are constants
            _save(response, part, begun if response.status == http.HTTPStatus.PARTIAL_CONTENT else 0, progress)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                raise
        part.touch()  # nothing is missing: the checksum decides


def _save(response: http.client.HTTPResponse, part: Path, begun: int, progress: bool) -> None:
    length = response.headers["Content-Length"]  # absent where the body comes in chunks: the checksum decides then
    total = None if length is None else begun + int(length)
    bar = tqdm(
        desc=part.stem, total=total, initial=begun, unit="B", unit_scale=True, unit_divisor=1024, disable=not progress
    )
    with part.open("ab" if begun else "wb") as file, bar:
        while chunk := response.read(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    if total is not None and (size := part.stat().st_size) < total:
        raise OSError(f"it broke off after {size:,} of {total:,} bytes")


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
