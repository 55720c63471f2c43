"""What containers and clusters do to a server: read-only roots, and a short time to stop."""

import fcntl
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from support.serving import PATIENCE_SECONDS, comes

from vitrine.server import temporary_folder
from vitrine.server.errors import StartupError
from vitrine.server.process.config import ProcessConfig, pod_advice
from vitrine.server.telemetry.liveness import Liveness
from vitrine.server.telemetry.metrics_config import MetricsConfig
from vitrine.server.telemetry.prometheus import workers_metrics
from vitrine.server.temporary_folder import LOCK, keep_folder, owned_folder

IN_A_POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}


@pytest.fixture
def read_only_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """No usual place for temporary files can be written."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])


@pytest.mark.usefixtures("read_only_root")
def test_a_read_only_root_leaves_shared_memory() -> None:
    with owned_folder("vitrine-test-") as folder:
        assert folder.parent == Path("/dev/shm")
        (folder / "file").write_text("written")
    assert not folder.exists()


def test_a_folder_that_is_still_used_outlives_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "vitrine-test-left"
    user = multiprocessing.get_context("spawn").Process(target=keep_until_killed, args=(left,), daemon=True)
    user.start()
    try:
        assert comes(lambda: lock_is_held(left), True)
        with owned_folder("vitrine-test-"):
            assert left.exists()
    finally:
        user.kill()
        user.join(PATIENCE_SECONDS)
    with owned_folder("vitrine-test-"):
        assert not left.exists()


def keep_until_killed(folder: Path) -> None:
    keep_folder(folder)
    threading.Event().wait()


def test_a_folder_that_is_removed_while_its_lock_is_waited_for_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweeper may take the lock of a dead owner's folder just before a worker does."""
    folder, swept = tmp_path / "left", list[Path]()

    def lock(file: int, _: int) -> None:
        if not swept:
            swept.append(folder)
            shutil.rmtree(folder)

    monkeypatch.setattr(fcntl, "flock", lock)
    os.close(keep_folder(folder))
    assert swept
    assert (folder / LOCK).exists()


def test_a_folder_that_is_removed_before_its_lock_is_made_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, swept, made = tmp_path / "left", list[Path](), os.open

    def make(path: Path, *settings: int, **further: Any) -> int:
        if path == folder / LOCK and not swept:
            swept.append(folder)
            shutil.rmtree(folder)
        return made(path, *settings, **further)

    monkeypatch.setattr(os, "open", make)
    os.close(keep_folder(folder))
    assert swept
    assert (folder / LOCK).exists()


def lock_is_held(folder: Path) -> bool:
    try:
        with (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "own")
    with pytest.raises(PermissionError):
        keep_folder(tmp_path / "link")


@pytest.mark.usefixtures("read_only_root")
def test_without_any_place_the_error_says_what_to_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(temporary_folder, "SHARED_MEMORY", Path("/proc/nowhere"))
    config = MetricsConfig(host="127.0.0.1", port=0)
    with (
        pytest.raises(StartupError, match=r"--tmpfs /tmp, or name another folder in TMPDIR"),
        workers_metrics(config, Liveness()),
    ):
        pass


ADOPTS = """
import ctypes, os, subprocess, sys, time
from pathlib import Path
from vitrine.server.process.supervisor import _reap_all
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
stays, leaves = os.pipe()
shell = ["sh", "-c", "exec 3<&0; cat <&3 > /dev/null & echo $!"]
orphan = Path("/proc", subprocess.check_output(shell, stdin=stays, text=True).strip())
os.close(leaves)  # only now, or its shell might still reap it
until = time.monotonic() + float(sys.argv[2])
while "State:\\tZ" not in (orphan / "status").read_text():
    assert time.monotonic() < until
    time.sleep(0.01)
_reap_all([])
assert orphan.exists()
os.getpid = lambda: int(sys.argv[1])
_reap_all([])
print(orphan.exists())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can hand orphans to a process that isn't the first")
@pytest.mark.parametrize(("process_id", "left"), [("1", "False"), ("2", "True")])
def test_a_containers_first_process_leaves_no_zombies(process_id: str, left: str) -> None:
    words = [sys.executable, "-c", ADOPTS, process_id, str(PATIENCE_SECONDS)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == left


def test_the_usual_stop_fits_into_a_pods_time() -> None:
    assert pod_advice(ProcessConfig(), IN_A_POD) == ""
    assert pod_advice(ProcessConfig(propagation_seconds=5), IN_A_POD) == ""


def test_a_stop_that_outlasts_a_pod_is_told_there_alone() -> None:
    config = ProcessConfig(propagation_seconds=10, drain_seconds=40)
    assert "set terminationGracePeriodSeconds to 55" in pod_advice(config, IN_A_POD)
    assert pod_advice(config, {}) == ""
