"""What the system allows: limits that are too low, and addresses that can't be listened on, are said in a sentence."""

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.serving import PATIENCE_SECONDS, SERVER, refused_start

from vitrine.server.errors import StartupError
from vitrine.server.process.limits import check_limits
from vitrine.server.process.port import can_be_shared

WORKERS = ["1", pytest.param("2", marks=pytest.mark.skipif(not can_be_shared(), reason="ports aren't shared here"))]


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("files", [24, 40])
def test_too_few_open_files_are_said_before_anything_starts(tiny_artifact: Path, workers: str, files: int) -> None:
    limited = ["/bin/sh", "-c", f'ulimit -n {files}; exec "$0" "$@"']
    command: list[str | Path] = [*limited, SERVER, tiny_artifact, "--workers", workers]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert ended.returncode == 1
    assert f"vitrine-server: this process may open {files} files, and needs " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_limit_of_open_files_is_raised_as_far_as_it_may() -> None:
    program = "import resource as r; from vitrine.server.process.limits import check_limits; check_limits(1, 1)"
    program += "; print(r.getrlimit(r.RLIMIT_NOFILE)[0])"
    limited = ["/bin/sh", "-c", 'ulimit -Sn 100; ulimit -Hn 200; exec "$0" "$@"', sys.executable, "-c", program]
    assert subprocess.run(limited, capture_output=True, text=True, check=True).stdout == "200\n"


@pytest.mark.parametrize(("workers", "needed"), [(1, 35), (4, 92)])
def test_too_few_threads_are_said_and_none_is_left(monkeypatch: pytest.MonkeyPatch, workers: int, needed: int) -> None:
    before, start = threading.active_count(), threading.Thread.start

    def start_some(thread: threading.Thread) -> None:
        if threading.active_count() >= before + 3:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_some)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with pytest.raises(StartupError, match=rf"may start 3 more threads, and needs {needed}.*--pids-limit"):
            check_limits(workers, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert threading.active_count() == before


ADDRESSES = {
    ("nowhere.invalid", "0"): "'nowhere.invalid' is no known name or address of a host",
    ("localhost:80", "0"): "'localhost:80' is no known name or address of a host, and a port is no part of it",
    ("192.0.2.1", "0"): "the address isn't this machine's",
}


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize(("address", "says"), ADDRESSES.items(), ids=[host for host, _ in ADDRESSES])
def test_the_true_reason_is_said_why_an_address_can_not_be_listened_on(
    tiny_artifact: Path, address: tuple[str, str], says: str, workers: str
) -> None:
    host, port = address
    assert says in refused_start(tiny_artifact, "--insecure", "--host", host, "--port", port, "--workers", workers)


def test_the_metrics_address_has_its_own_reason(tiny_artifact: Path) -> None:
    said = refused_start(tiny_artifact, "--metrics-port", "0", "--metrics-host", "192.0.2.1")
    assert "can't listen on 192.0.2.1:0: the address isn't this machine's; name another with --metrics-host" in said
