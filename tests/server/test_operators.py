"""`vitrine-server token` and `vitrine-server publish`, with a real server that follows what they write."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.artifacts import export_random
from support.serving import running_server

from vitrine.client import AuthenticationError, Client, PermissionDeniedError
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.errors import StartupError
from vitrine.server.models.publishing import publish
from vitrine.server.security.access import Permission

COMMAND = Path(sys.executable).with_name("vitrine-server")


def run(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, *words], capture_output=True, text=True)


def test_a_token_is_printed_alone_and_its_line_is_added(tmp_path: Path, server_pixels: bytes) -> None:
    file = tmp_path / "tokens"
    first, second = (run("token", name, "--allow", allowed, "--file", file) for name, allowed in CALLERS)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert first.stdout.strip() not in file.read_text()
    with running_server("--tokens", file) as server:
        with Client(server.target, token=first.stdout.strip()) as client:
            assert client.classify(server_pixels).activations
        with Client(server.target, token=second.stdout.strip()) as client:
            assert client.classify(server_pixels, activations=None).label
            with pytest.raises(PermissionDeniedError):
                client.parameters("linear_1")
        with Client(server.target) as client, pytest.raises(AuthenticationError):
            client.models()


def test_the_help_names_every_permission() -> None:
    shown = " ".join(run("token", "--help").stdout.split())
    assert ", ".join(permission.value for permission in Permission) in shown


CALLERS = (("alice", "predict,activations"), ("board", "predict"))


@pytest.fixture
def server_pixels() -> bytes:
    """An image file."""
    return (Path(__file__).parents[2] / "examples" / "eight.png").read_bytes()


def test_a_line_is_added_behind_one_without_an_end(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# callers")
    assert run("token", "alice", "--file", file).returncode == 0
    assert [line.split()[0] for line in file.read_text().splitlines()] == ["#", "alice"]


def test_a_file_that_no_server_takes_gets_no_line(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text("# callers\nbob 1234 predict\n")
    ended = run("token", "alice", "--file", file)
    assert (ended.returncode, ended.stdout) == (1, "")
    (said,) = ended.stderr.splitlines()
    assert said == f"vitrine-server: {file}, line 2: the second word isn't the 64 hex digits of a token's SHA-256"
    assert "alice" not in file.read_text()


@pytest.mark.parametrize("words", [("two words",), ("#alice",), ("alice", "--allow", "everything")])
def test_a_token_that_no_file_could_have_is_refused(words: tuple[str, ...], tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    ended = run("token", *words, "--file", file)
    assert ended.returncode != 0
    assert "Traceback" not in ended.stderr
    assert not file.exists()


def test_a_published_model_is_served_and_the_next_one_takes_over(tiny_artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.onnx").write_bytes(tiny_artifact.read_bytes())
    repository = tmp_path / "models"
    published = run("publish", tmp_path / "run", repository)
    assert published.stdout.strip() == str(repository / "tiny" / "1"), published.stderr
    assert run("publish", tiny_artifact, repository).stdout.strip().endswith("/tiny/2")
    assert run("publish", tiny_artifact, repository, "--name", "other").stdout.strip().endswith("/other/1")
    with running_server("--model-repository", repository) as server, Client(server.target) as client:
        assert {model.label for model in client.models()} == {"tiny@2", "other@1"}


def test_weights_of_another_name_are_not_published_where_no_server_would_find_them(tmp_path: Path) -> None:
    artifact = export_random(tmp_path / "beside.onnx", [32], inline_limit=1000)
    ended = run("publish", artifact, tmp_path / "models")
    assert ended.returncode == 1
    assert "export the model as model.onnx" in ended.stderr
    assert not (tmp_path / "models").exists()
    artifact = export_random(tmp_path / "model.onnx", [32], inline_limit=1000)
    published = Path(run("publish", artifact, tmp_path / "models").stdout.strip())
    assert load_artifact(published / "model.onnx", Device.CPU).parameters


def test_an_artifact_that_no_server_would_take_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    ended = run("publish", tmp_path / "model.onnx", tmp_path / "models")
    assert ended.returncode == 1
    assert ended.stderr.startswith("vitrine-server: ")
    assert not (tmp_path / "models").exists()


def test_publishers_at_once_get_a_version_each_and_leave_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"whatever")
    (tmp_path / "model.onnx.data").write_bytes(b"weights")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: publish(tmp_path / "model.onnx", tmp_path / "models", "digits"), range(24)))
    assert sorted(int(folder.name) for folder in folders) == list(range(1, 25))
    assert {path.name for path in (tmp_path / "models" / "digits").iterdir()} == {folder.name for folder in folders}
    assert all((folder / "model.onnx.data").read_bytes() == b"weights" for folder in folders)


@pytest.mark.parametrize("name", ["", "a@b", "../digits", ".hidden"])
def test_a_name_that_no_model_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no model can be called"):
        publish(tmp_path / "model.onnx", tmp_path / "models", name)
    assert list(tmp_path.iterdir()) == []
