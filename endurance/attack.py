"""Attacks a server whose memory is limited to what its documentation asks for, and tells what an honest caller sees.

    python -m endurance.attack [NAME…] [--seconds 120] [--pending-mb 128] [--json]

Named attacks go on together; without names, those of strangers and of one stolen token that a server must survive
(`attacking/attacks.py`). Meanwhile a program with the SDK, as it comes, classifies one drawing 20 times a second.

It exits with 1 when the server has ended or had a fault, an honest caller got less than 99 % of its calls, or its p99
was 1 s or more.
"""

import asyncio
import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import click

from benchmarks.harness.rounds import log_progress
from benchmarks.harness.servers import VITRINE_SERVER, LoggedServer, Server, start
from endurance.attacking import honest
from endurance.attacking.attacks import ATTACKS
from endurance.attacking.memory_limit import IN_GROUP, memory_group, peak_bytes
from endurance.frontend import frontend_option
from endurance.memory import documented_mib
from endurance.overload import peak_of
from endurance.report import as_lines

MIB = 1 << 20
STRONGEST = ("gzip_bombs", "stalled_uploads", "unread_answers", "bad_paths", "image_files")
CALLERS = {"honest": "the-honest-token", "thief": "the-stolen-token"}
START_SECONDS = 5.0
"""Seconds before the attacks begin: the honest caller has connected."""

MIN_GOOD_RATIO, MAX_P99_MS = 0.99, 1000.0


@click.command()
@frontend_option
@click.argument("names", nargs=-1, type=click.Choice([*ATTACKS, "nothing"]))
@click.option("--seconds", default=120.0, show_default=True, help="Duration of the attacks.")
@click.option("--pending-mb", default=128, show_default=True, help="The server's --max-pending-mb.")
@click.option("--message-mb", default=64, show_default=True, help="The server's --max-message-mb.")
@click.option("--workers", default=1, show_default=True, help="The server's --workers.")
@click.option("--memory-mb", type=int, help="The server's memory; by default what the documentation asks for.")
@click.option("--files", default=1024, show_default=True, help="Files that the server may have open (nofile).")
@click.option("--program", type=click.Path(path_type=Path), default=VITRINE_SERVER, help="The server's executable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def main(
    names: Sequence[str],
    seconds: float,
    pending_mb: int,
    message_mb: int,
    workers: int,
    memory_mb: int | None,
    files: int,
    program: Path,
    as_json: bool,
) -> None:
    """Attack a server, and judge what an honest caller sees."""
    attacks = [name for name in names or STRONGEST if name != "nothing"]
    memory = (memory_mb or workers * documented_mib(pending_mb)) * MIB
    settings = ["--max-pending-mb", pending_mb, "--max-message-mb", message_mb, "--log-level", "error"]
    settings += ["--workers", workers]
    with tempfile.TemporaryDirectory() as folder, memory_group(memory) as group:
        tokens = Path(folder, "tokens")
        lines = [f"{name} {sha256(token.encode()).hexdigest()} predict,activations" for name, token in CALLERS.items()]
        tokens.write_text("\n".join(lines) + "\n")
        log = Path(folder, "log")
        with limited_server(program, group, files, log, "--tokens", str(tokens), *map(str, settings)) as server:
            figures = {"attacks": " ".join(attacks), "memory_mib": memory // MIB}
            figures |= measure(server, attacks, seconds)
            figures["peak_mib"] = peak_bytes(group) / MIB if group else figures["rss_peak_mib"]
            figures["faults_in_log"] = server.faults()
    click.echo(json.dumps(figures, indent=2) if as_json else as_lines(figures))
    sys.exit(not good(figures))


@contextmanager
def limited_server(program: Path, group: Path | None, files: int, log: Path, *arguments: str) -> Iterator[LoggedServer]:
    """A server in a memory group, with so many files and this log; killed at the end."""
    limit = f"ulimit -n {files}; "
    script = limit + (IN_GROUP if group else 'exec "$0" "$@"')
    os.environ["VITRINE_CGROUP"] = str(group or "")
    with log.open("w") as lines:
        server = start("-c", script, str(program), *arguments, program=Path("/bin/bash"), log=lines)
    try:
        yield LoggedServer(server.target, server.process, log)
    finally:
        server.process.kill()
        server.process.communicate()


def measure(server: Server, attacks: Sequence[str], seconds: float) -> dict[str, Any]:
    """What an honest caller sees while the attacks go on, and the server's memory."""
    log_progress(f"{' and '.join(attacks) or 'nothing'} for {seconds:.0f} s")
    caller = honest.start(server.target, seconds + START_SECONDS, CALLERS["honest"])
    threading.Event().wait(START_SECONDS)
    with peak_of(lambda: server.usage().rss_kib) as peak:
        asyncio.run(attack(server, attacks, seconds))
    figures = honest.figures_of(caller)
    return {"alive": server.alive, **figures, "rss_peak_mib": peak[0] / 1024}


async def attack(server: Server, attacks: Sequence[str], seconds: float) -> None:
    """Runs the attacks together for so many seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(seconds))
            for name in attacks:
                group.create_task(ATTACKS[name](server.target, CALLERS["thief"]))  # type: ignore[arg-type]


def good(figures: dict[str, Any]) -> bool:
    """True if the server lives, had no fault, and an honest caller was served."""
    served = figures["good_ratio"] >= MIN_GOOD_RATIO and figures["p99_ms"] < MAX_P99_MS
    return bool(figures["alive"] and served and not figures["faults_in_log"])


if __name__ == "__main__":
    main()
