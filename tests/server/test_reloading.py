"""A real server whose repository changes while it answers."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from support.publishing import bad_files, good_file, probabilities_of, publish, withdraw
from support.serving import (
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    SERVER,
    Log,
    RunningServer,
    logged_server,
    open_log,
    refused_start,
    running_server,
)

from benchmarks.harness.servers import READY
from vitrine.client import Client, ModelSummary, NotFoundError
from vitrine.model import TOLERANCE
from vitrine.server.process.port import can_be_shared
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

SHARED_PORT = pytest.mark.skipif(not can_be_shared(), reason="this platform doesn't share ports")
OFTEN = ("--reload-seconds", "0.02")
Pixels = npt.NDArray[np.uint8]


@contextmanager
def serving(root: Path, *arguments: str) -> Iterator[tuple[RunningServer, Client]]:
    with (
        running_server("--model-repository", root, *OFTEN, *arguments) as server,
        Client(server.target) as client,
    ):
        yield server, client


def states(client: Client) -> dict[str, str]:
    return {f"{entry.name}@{entry.version}": entry.state for entry in client.models()}


def wait_until(client: Client, so: Callable[[tuple[ModelSummary, ...]], bool]) -> tuple[ModelSummary, ...]:
    """Asks for the list of models until it is as it should be."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not so(models := client.models()):
        assert time.monotonic() < deadline, models
        time.sleep(LOOK_SECONDS)
    return models


def wait_for(client: Client, version: int, state: str = "AVAILABLE") -> ModelSummary:
    def listed(models: tuple[ModelSummary, ...]) -> bool:
        return (str(version), state) in {(entry.version, entry.state) for entry in models}

    return next(entry for entry in wait_until(client, listed) if entry.version == str(version))


class Traffic(threading.Thread):
    """Classifies one image after the other with a client of its own, and checks every answer."""

    def __init__(self, target: str, pixels: Pixels) -> None:
        super().__init__(daemon=True)
        self.seen: set[str] = set()
        self.fault: BaseException | None = None
        self._target, self._pixels = target, pixels
        self._enough = threading.Event()
        self._answered = threading.Condition()

    def run(self) -> None:
        try:
            with Client(self._target, retries=0) as client:
                while not self._enough.is_set():
                    self._classify(client)
        except BaseException as fault:
            self.fault = fault

    def _classify(self, client: Client) -> None:
        prediction = client.classify(self._pixels, preparation="none")
        expected = probabilities_of(int(prediction.model.version), self._pixels[np.newaxis])[0]
        np.testing.assert_allclose(prediction.probabilities, expected, atol=TOLERANCE)
        with self._answered:
            self.seen.add(prediction.model.version)
            self._answered.notify_all()

    def wait_for(self, version: int) -> None:
        with self._answered:
            assert self._answered.wait_for(lambda: str(version) in self.seen, PATIENCE_SECONDS), self.fault

    def end(self) -> None:
        self._enough.set()
        self.join(PATIENCE_SECONDS)
        assert self.fault is None


def test_new_versions_take_over_under_traffic_and_every_answer_is_right(tmp_path: Path, pixels: Pixels) -> None:
    publish(tmp_path, "tiny", 1)
    with serving(tmp_path) as (server, client):
        callers = [Traffic(server.target, pixels[number]) for number in range(3)]
        for caller in callers:
            caller.start()
        for version in (1, 2, 3, 4):
            if version > 1:
                publish(tmp_path, "tiny", version)
            for caller in callers:
                caller.wait_for(version)
            assert states(client) == {f"tiny@{version}": "AVAILABLE"}
        for caller in callers:
            caller.end()
            assert caller.seen == {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("damage", "reason"),
    {
        "corrupt": "it isn't an ONNX file, or is cut off",
        "truncated": "it isn't an ONNX file, or is cut off",
        "empty": "it is an empty file",
        "golden-mismatched": "its golden sample disagrees: linear_2 deviates by",
    }.items(),
)
def test_a_bad_version_keeps_the_old_one_serving_and_shows(
    tmp_path: Path, pixels: Pixels, damage: str, reason: str
) -> None:
    publish(tmp_path, "tiny", 1)
    with serving(tmp_path) as (_, client):
        publish(tmp_path, "tiny", 2, bad_files()[damage])
        entry = wait_for(client, 2, "FAILED")
        assert reason in entry.reason
        assert (entry.name, entry.provider, entry.default) == ("tiny", "", False)
        assert client.classify(pixels[0], preparation="none").model.version == "1"
        assert [entry.version for entry in client.models() if entry.default] == ["1"]
        with pytest.raises(NotFoundError, match="'tiny' has no version '2'; served: 1"):
            client.model("tiny@2")


def test_a_version_that_is_half_written_fails_until_it_is_whole(tmp_path: Path, pixels: Pixels) -> None:
    publish(tmp_path, "tiny", 1)
    with serving(tmp_path) as (_, client):
        folder = tmp_path / "tiny" / "2"
        folder.mkdir()
        with (folder / "model.onnx").open("wb") as file:
            file.write(good_file(2)[:5000])
            file.flush()
            wait_for(client, 2, "FAILED")
            assert client.classify(pixels[0], preparation="none").model.version == "1"
            file.write(good_file(2)[5000:])
        wait_for(client, 2)
        assert client.classify(pixels[0], preparation="none").model.version == "2"


def test_moving_a_version_away_rolls_back(tmp_path: Path, pixels: Pixels) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    with serving(tmp_path) as (_, client):
        assert states(client) == {"tiny@2": "AVAILABLE"}
        withdraw(tmp_path, "tiny", 2)
        wait_for(client, 1)
        assert client.classify(pixels[0], preparation="none").model.version == "1"
        assert states(client) == {"tiny@1": "AVAILABLE"}


def test_every_call_takes_a_model_at_a_version(tmp_path: Path, pixels: Pixels) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    publish(tmp_path, "aside", 7)
    with serving(tmp_path, "--versions", "all", "--default-model", "tiny") as (_, client):
        for asked, name, number in (("", "tiny", 2), ("aside", "aside", 7), ("tiny@1", "tiny", 1)):
            prediction = client.classify(pixels[0], model=asked, preparation="none")
            (one_of_many,) = client.classify_many(pixels[:1], model=asked, preparation="none")
            who = (prediction.model, one_of_many.model, client.model(asked), client.parameters("linear_1", asked).model)
            assert {(model.name, model.version) for model in who} == {(name, str(number))}
            expected = probabilities_of(number, pixels[:1])[0]
            np.testing.assert_allclose(prediction.probabilities, expected, atol=TOLERANCE)
        assert [(x.name, x.version, x.default) for x in client.models()] == [
            ("aside", "7", False),
            ("tiny", "2", True),
            ("tiny", "1", False),
        ]


def test_an_unknown_version_is_not_found_and_the_served_ones_are_listed(tmp_path: Path) -> None:
    for version in (1, 2):
        publish(tmp_path, "tiny", version)
    with (
        running_server("--model-repository", tmp_path, "--versions", "all") as server,
        grpc.insecure_channel(server.target) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        ClassifierServiceStub(channel).GetModel(pb.GetModelRequest(model="tiny@9"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "'tiny' has no version '9'; served: 2, 1"


def test_every_setting_of_a_repository_is_a_variable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for version in (1, 2, 3):
            publish(tmp_path, name, version)
    environment = {"VITRINE_VERSIONS": "1,3", "VITRINE_DEFAULT_MODEL": "b", "VITRINE_RELOAD_SECONDS": "0"}
    with (
        running_server(VITRINE_MODEL_REPOSITORY=str(tmp_path), **environment) as server,
        Client(server.target) as client,
    ):
        assert set(states(client)) == {"a@3", "a@1", "b@3", "b@1"}
        assert client.model().name == "b"


def test_a_repository_of_which_some_load_is_served_and_shows_the_others(tmp_path: Path) -> None:
    publish(tmp_path, "good", 1)
    publish(tmp_path, "bad", 1, b"bad")
    with serving(tmp_path) as (_, client):
        assert states(client) == {"bad@1": "FAILED", "good@1": "AVAILABLE"}
        assert client.model().name == "good"


def test_a_repository_of_which_nothing_loads_is_refused_and_each_failure_is_named(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1, bad_files()["golden-mismatched"])
    publish(tmp_path, "tiny", 2, b"bad")
    publish(tmp_path, "other", 1, bad_files()["truncated"])
    said = refused_start("--model-repository", tmp_path)
    assert f"nothing in the model repository {tmp_path} can be served" in said
    assert "tiny@1: its golden sample disagrees" in said
    assert "tiny@2: it isn't an ONNX file, or is cut off" in said
    assert "other@1: it isn't an ONNX file, or is cut off" in said


def test_an_empty_repository_is_refused(tmp_path: Path) -> None:
    assert "there is no NAME/VERSION/model.onnx" in refused_start("--model-repository", tmp_path)
    assert "can't be read: No such file or directory" in refused_start("--model-repository", tmp_path / "missing")


def test_a_default_model_that_is_not_served_is_refused(tmp_path: Path) -> None:
    publish(tmp_path, "tiny", 1)
    publish(tmp_path, "bad", 1, b"bad")
    said = refused_start("--model-repository", tmp_path, "--default-model", "bad")
    assert "the default model 'bad' isn't served: bad@1: it isn't an ONNX file, or is cut off; served: tiny" in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["model.onnx", "--model-repository", "."], "serve either MODEL (VITRINE_MODEL) or --model-repository"),
        (["--default-model", "tiny"], "--default-model names a model of --model-repository, which isn't set"),
        (["--model-repository", ".", "--versions", "newest"], "'newest' is neither latest:N, nor all, nor version"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(arguments: list[str], says: str) -> None:
    finished = subprocess.run([SERVER, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 2
    assert says in finished.stderr


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_sighup_has_the_repository_looked_at_and_ends_no_call(tmp_path: Path, workers: str) -> None:
    publish(tmp_path, "tiny", 1)
    flags = ("--model-repository", tmp_path, "--reload-seconds", "0", "--workers", workers)
    with open_log() as (pipe, log), logged_server(pipe, *flags) as server, Client(server.target) as client:
        publish(tmp_path, "tiny", 2)
        server.process.send_signal(signal.SIGHUP)
        log.wait_for(r"model tiny@2 (runs)", int(workers))
        wait_until(client, lambda models: any(model.version == "2" for model in models))
        assert server.stop() == 0


@contextmanager
def server_of_a_terminal(*command: str | Path) -> Iterator[tuple["subprocess.Popen[str]", Log]]:
    """A server that is ready, whose standard input is a terminal, and its log."""
    ours, terminal = os.openpty()
    with (
        open_log() as (pipe, log),
        subprocess.Popen(
            [*command, "--port", "0"], stdin=terminal, stdout=subprocess.PIPE, stderr=pipe, text=True
        ) as server,
    ):
        os.close(terminal)
        assert server.stdout is not None
        assert server.stdout.readline().startswith(READY)
        yield server, log
    os.close(ours)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=SHARED_PORT)])
def test_sighup_from_a_terminal_that_has_gone_stops_the_server_however_often_it_comes(
    tiny_artifact: Path, workers: str
) -> None:
    flags = ("--workers", workers, "--propagation-seconds", "0.5")
    with server_of_a_terminal(SERVER, tiny_artifact, *flags) as (server, log):
        server.send_signal(signal.SIGHUP)
        log.wait_for(r"(stopping): serving", int(workers))
        server.send_signal(signal.SIGHUP)
        assert server.wait(PATIENCE_SECONDS) == 0


def test_under_nohup_a_terminal_that_has_gone_stops_nothing(tiny_artifact: Path) -> None:
    """Some systems' nohup leaves standard input as it is."""
    command = ("/bin/sh", "-c", 'trap \'\' HUP; exec "$0" "$@"', SERVER, tiny_artifact)
    with server_of_a_terminal(*command) as (server, log):
        server.send_signal(signal.SIGHUP)
        log.wait_for(r"(SIGHUP): looking")
        server.terminate()
        assert server.wait(PATIENCE_SECONDS) == 0
