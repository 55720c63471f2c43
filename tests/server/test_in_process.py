"""`vitrine.server.embedded`: the client's methods on a server in this process."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from support.serving import RunningServer

import vitrine.server
from vitrine.client import AuthenticationError, Client, UsageError
from vitrine.server.errors import StartupError


def test_it_answers_as_a_server_does(server: RunningServer, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]) -> None:
    with vitrine.server.embedded(tiny_artifact) as client, Client(server.target) as other:
        ours, theirs = (each.classify(pixels[0], preparation="none") for each in (client, other))
        assert list(ours.activations) == list(theirs.activations)
        for layer in ours.activations:
            np.testing.assert_array_equal(ours.activations[layer], theirs.activations[layer])
        np.testing.assert_array_equal(client.parameters("linear_1").weight, other.parameters("linear_1").weight)
        assert client.model().name == "tiny"
        assert client.health()
        assert len(list(client.classify_many(pixels, preparation="none"))) == len(pixels)


def test_nobody_else_gets_in(tiny_artifact: Path) -> None:
    with (
        vitrine.server.embedded(tiny_artifact) as client,
        Client(client.target) as stranger,
        pytest.raises(AuthenticationError),
    ):
        stranger.models()


def test_it_takes_images_to_prepare_and_calls_of_many_threads(tiny_artifact: Path) -> None:
    file = Path(__file__).parents[2] / "examples" / "eight.png"
    with vitrine.server.embedded(tiny_artifact) as client, ThreadPoolExecutor(8) as pool:
        local = client.classify(file)
        made = list(pool.map(lambda _: client.classify(file, preparation="server"), range(16)))
    assert {each.label for each in made} == {local.label}


async def test_it_opens_where_an_event_loop_runs_as_in_a_notebook(
    tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    with vitrine.server.embedded(tiny_artifact) as client:
        assert await asyncio.to_thread(lambda: client.classify(pixels[0], preparation="none").label)


def test_it_leaves_no_thread_and_no_connection(tiny_artifact: Path) -> None:
    with vitrine.server.embedded(tiny_artifact) as client:
        assert "vitrine-embedded" in {thread.name for thread in threading.enumerate()}
    assert "vitrine-embedded" not in {thread.name for thread in threading.enumerate()}
    with pytest.raises(UsageError, match="closed"):
        client.models()


def test_an_artifact_that_fails_a_check_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(StartupError, match="is not served"), vitrine.server.embedded(tmp_path / "model.onnx"):
        pass


def test_other_attributes_are_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'embed'"):
        vitrine.server.embed  # noqa: B018  # looked up, and not there
