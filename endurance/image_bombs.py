"""Sends image files that cost far more than their bytes, and measures memory and the wait of a good file meanwhile.

    python -m endurance.image_bombs [--program vitrine-server] [--mib 2248] [--seconds 20] [--json]

One server is attacked in each of these ways, by one caller with a token of its own:

- `turned WebPs`: two files of 50 megapixels with an orientation, 2 KB each, at once, again and again
- `many WebPs`: a hundred of these at once, once
- `scans`: two progressive JPEGs of 27,000 scans at once, whose caller leaves after a second
- `noisy GIF`: one file of 50 megapixels and about 60 MB

Meanwhile another caller sends a small PNG again and again, ten times a second, each call with a limit of 30 s and
without retries. The script prints the latencies of its calls, how they ended, the answers of the attacked ones, and the
highest memory of the server and its children. It exits with 1 when the server ended, when more than `--mib` was
resident, or when a good file failed or waited for more than a second.

`--program` takes the server of another checkout, to compare.
"""

import hashlib
import io
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import grpc
import numpy as np
from PIL import ExifTags, Image

from benchmarks.harness.machine import machine
from benchmarks.harness.rounds import log_progress
from benchmarks.harness.servers import OWN_CONNECTION, VITRINE_SERVER, Server, running
from endurance.frontend import frontend_option
from endurance.memory import documented_mib
from endurance.report import as_lines
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

SIZE = (7000, 7142)
"""Width and height of 50 megapixels."""

SCANS = 27_000
START_OF_SCAN, END_OF_IMAGE = b"\xff\xda", b"\xff\xd9"
SAMPLE_SECONDS = 0.02
PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 30.0
LONGEST_WAIT_SECONDS = 1.0
LARGE_MESSAGES = [("grpc.max_send_message_length", 64 << 20), *OWN_CONNECTION]
TOKENS = {"honest": "honest-token", "attacker": "attacker-token"}


@click.command()
@frontend_option
@click.option("--program", default=VITRINE_SERVER, type=click.Path(path_type=Path), help="The server to attack.")
@click.option("--mib", default=documented_mib(), show_default=True, help="MiB that may be resident.")
@click.option("--seconds", default=20.0, show_default=True, help="Shortest duration of each attack.")
@click.option("--only", default="", help="The attack to make; by default all.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(program: Path, mib: int, seconds: float, only: str, as_json: bool) -> None:
    """Attack a server with image files, and print what that does to others."""
    figures: dict[str, Any] = {"machine": machine("pillow"), "good": True}
    for name, attack in ATTACKS.items():
        if only not in ("", name):
            continue
        log_progress(name)
        with _serving(program) as server:
            figures[name] = _measured(server, attack, seconds)
        found = figures[name]
        too_slow = found["longest_ms"] > 1000 * LONGEST_WAIT_SECONDS
        bad = not found["alive"] or found["peak_mib"] > mib or set(found["ended"]) != {"OK"} or too_slow
        figures["good"] = figures["good"] and not bad
    print(json.dumps(figures) if as_json else as_lines(figures))
    sys.exit(0 if figures["good"] else 1)


@contextmanager
def _serving(program: Path) -> Iterator[Server]:
    """A server with both callers' tokens."""
    with TemporaryDirectory() as folder:
        tokens = Path(folder, "tokens")
        lines = [f"{name} {hashlib.sha256(token.encode()).hexdigest()} predict\n" for name, token in TOKENS.items()]
        tokens.write_text("".join(lines))
        with running("--tokens", tokens, "--drain-seconds", "0", program=program) as server:
            yield server


def _measured(server: Server, attack: Callable[[str, float], Counter[str]], seconds: float) -> dict[str, Any]:
    """The attack's effect on a caller of good files, and on memory."""
    over = threading.Event()
    with ThreadPoolExecutor(3) as threads:
        peak = threads.submit(_peak_mib, server, over)
        first, _ = _send(server.target, "honest", GOOD)
        calls = threads.submit(_good_calls, server.target, over)
        begin = time.monotonic()
        answers = attack(server.target, seconds)
        over.wait(max(0.0, seconds - (time.monotonic() - begin)))
        over.set()
        latencies, ended = calls.result()
    p50, p99, longest = np.percentile(latencies, (50, 99, 100)).round().tolist()
    return {
        "alive": server.alive,
        "peak_mib": peak.result(),
        "first_call": first,
        "good_calls": len(latencies),
        "p50_ms": p50,
        "p99_ms": p99,
        "longest_ms": longest,
        "ended": dict(ended),
        "attacked_answers": dict(answers),
    }


def _peak_mib(server: Server, over: threading.Event) -> int:
    most = 0
    while not over.wait(SAMPLE_SECONDS):
        most = max(most, server.usage().rss_kib)
    return most >> 10


def _good_calls(target: str, over: threading.Event) -> tuple[list[float], Counter[str]]:
    """The latencies in milliseconds of a good file's calls, one after the other, and how they ended."""
    latencies: list[float] = []
    ended: Counter[str] = Counter()
    while not over.is_set():
        code, seconds = _send(target, "honest", GOOD)
        ended[code] += 1
        latencies.append(1000 * seconds)
        over.wait(PAUSE_SECONDS)
    return latencies, ended


def _send(target: str, caller: str, file: bytes, patience: float = PATIENCE_SECONDS) -> tuple[str, float]:
    """Sends one file on a connection of its own; the status code and the seconds that it took."""
    with grpc.insecure_channel(target, options=LARGE_MESSAGES) as channel:
        request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[file]))
        metadata = (("authorization", f"Bearer {TOKENS[caller]}"),)
        begin = time.monotonic()
        try:
            ClassifierServiceStub(channel).Classify(request, timeout=patience, metadata=metadata)
        except grpc.RpcError as error:
            return str(error.code().name), time.monotonic() - begin
        return "OK", time.monotonic() - begin


def _at_once(target: str, file: bytes, calls: int, patience: float = PATIENCE_SECONDS) -> Counter[str]:
    with ThreadPoolExecutor(calls) as threads:
        return Counter(
            code for code, _ in threads.map(lambda _: _send(target, "attacker", file, patience), range(calls))
        )


def _turned_webps(target: str, seconds: float) -> Counter[str]:
    file, answers, end = turned_webp(), Counter[str](), time.monotonic() + seconds
    while time.monotonic() < end:
        answers += _at_once(target, file, 2)
    return answers


def _many_webps(target: str, _: float) -> Counter[str]:
    return _at_once(target, turned_webp(), 100, 120.0)


def _scans(target: str, _: float) -> Counter[str]:
    return _at_once(target, many_scans(SCANS), 2, 1.0)


def _noisy_gif(target: str, _: float) -> Counter[str]:
    return _at_once(target, noisy_gif(), 1)


ATTACKS: dict[str, Callable[[str, float], Counter[str]]] = {
    "turned WebPs": _turned_webps,
    "many WebPs": _many_webps,
    "scans": _scans,
    "noisy GIF": _noisy_gif,
}


def turned_webp(size: tuple[int, int] = SIZE) -> bytes:
    """A WebP of one colour, to be turned by 90 degrees: a few bytes for any size."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return _encoded(Image.new("RGB", size, "white"), "WEBP", lossless=True, exif=exif)


def many_scans(scans: int, size: tuple[int, int] = (2000, 2000)) -> bytes:
    """A progressive JPEG whose last scan, of less than 100 bytes, is there again and again."""
    file = _encoded(Image.new("L", size, 200), "JPEG", progressive=True)
    last = file[file.rindex(START_OF_SCAN) : -len(END_OF_IMAGE)]
    return file[: -len(END_OF_IMAGE)] + scans * last + END_OF_IMAGE


def noisy_gif(size: tuple[int, int] = SIZE) -> bytes:
    """A GIF of noise, about as large as may be sent."""
    width, height = size
    noise = np.random.default_rng(0).integers(0, 128, (height, width), np.uint8)
    return _encoded(Image.fromarray(noise), "GIF", transparency=0)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


GOOD = _encoded(Image.fromarray(np.pad(np.zeros((20, 6), np.uint8), ((4, 4), (11, 11)), constant_values=255)), "PNG")

if __name__ == "__main__":
    main()
