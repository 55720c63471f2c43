"""Scoring in bulk: what is in the results, whatever the source, the engine and the accidents on the way."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from bulk.conftest import BROKEN, Drawings, as_folder, rows_of, write_pixels
from click.testing import CliRunner, Result
from support.artifacts import random_pixels
from support.publishing import good_file, publish
from support.serving import PATIENCE_SECONDS, RunningServer, running_server

from vitrine.bulk import Job, open_source, score
from vitrine.bulk.cli import score as command
from vitrine.bulk.engines import OpenEngine
from vitrine.bulk.engines.local import open_local
from vitrine.bulk.engines.remote import open_remote
from vitrine.bulk.results import NOTE, PartWriter
from vitrine.bulk.run import results_of, score_part
from vitrine.client import Client
from vitrine.model import VitrineError
from vitrine.server.errors import Overloaded
from vitrine.server.inference.call import Call
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.inference.service import Service

VITRINE = Path(sys.executable).with_name("vitrine")


@pytest.fixture(params=["local", "remote"])
def engine(request: pytest.FixtureRequest, judging_artifact: Path, judging_server: RunningServer) -> OpenEngine:
    """The same model in this process, and behind a server."""
    if request.param == "local":
        return partial(open_local, judging_artifact)
    return partial(open_remote, {"target": judging_server.target})


async def scored(source: Path, folder: Path, engine: OpenEngine, activations: Sequence[str] = ()) -> list[Any]:
    await score(Job(open_source(source, 4), folder, engine, activations))
    return rows_of(folder)


async def test_every_image_has_a_row(
    source: Path, engine: OpenEngine, tmp_path: Path, drawings: Drawings, judging_server: RunningServer
) -> None:
    rows = await scored(source, tmp_path / "out", engine, ["relu_1"])
    assert sorted(row["id"].rpartition("/")[2] for row in rows) == sorted(drawings)
    with Client(judging_server.target) as client:
        for row in rows:
            name = row["id"].rpartition("/")[2]
            if name == BROKEN:
                assert "isn't an image" in row["error"] or "no image" in row["error"]
                assert [value for key, value in row.items() if key not in ("id", "error")] == [None] * (len(row) - 2)
                continue
            expected = client.classify(drawings[name], activations=["relu_1"])
            assert (row["digit"], row["label"], row["is_digit"]) == (expected.digit, expected.label, expected.is_digit)
            assert np.allclose(row["probabilities"], expected.probabilities, atol=1e-6)
            assert np.allclose(row["activations.relu_1"], expected.activations["relu_1"], atol=1e-5)
            assert row["novelty"] == pytest.approx(expected.novelty, abs=1e-5)
            assert row["error"] is None


async def test_pixels_are_scored_as_they_are(
    engine: OpenEngine, tmp_path: Path, pixels: npt.NDArray[np.uint8], judging_server: RunningServer
) -> None:
    rows = await scored(write_pixels(tmp_path / "some.parquet", pixels), tmp_path / "out", engine, ["all"])
    with Client(judging_server.target) as client:
        expected = list(client.classify_many(pixels, preparation="none", activations="all"))
        layers = client.model().layers
    assert [row["digit"] for row in rows] == [prediction.digit for prediction in expected]
    for layer in layers:
        values = np.array([row[f"activations.{layer.name}"] for row in rows])
        assert np.allclose(values, [prediction.activations[layer.name] for prediction in expected], atol=1e-5)


async def test_a_model_of_other_classes_has_labels_and_no_digits(arrows_artifact: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 12, 20), np.uint8)
    rows = await scored(
        write_pixels(tmp_path / "some.parquet", pixels), tmp_path / "out", partial(open_local, arrows_artifact)
    )
    assert "digit" not in rows[0]
    assert {row["label"] for row in rows} <= {"up", "down", "left", "right"}


async def test_only_missing_parts_are_scored(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    source, folder = write_pixels(tmp_path / "some.parquet", pixels), tmp_path / "out"
    engine = partial(open_local, tiny_artifact)
    first = await scored(source, folder, engine)
    (folder / "part-00002.parquet").unlink()
    (folder / "_part-00002.parquet.1.tmp").write_text("half")
    summary = await score(Job(open_source(source, 4), folder, engine))
    assert (summary.images, summary.images_before) == (4, 12)
    assert rows_of(folder) == first
    assert not list(folder.glob("*.tmp"))


async def test_results_of_something_else_stay(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    source, engine = write_pixels(tmp_path / "some.parquet", pixels), partial(open_local, tiny_artifact)
    first = await scored(source, tmp_path / "out", engine)
    with pytest.raises(VitrineError, match="results of a run with another choice of layers: name another folder"):
        await scored(source, tmp_path / "out", engine, ["relu_1"])
    other = write_pixels(tmp_path / "other.parquet", pixels[:5])
    with pytest.raises(VitrineError, match="another source and another number of parts"):
        await scored(other, tmp_path / "out", engine)
    with pytest.raises(VitrineError, match="Parquet files of something else"):
        await scored(other, tmp_path, engine)
    assert rows_of(tmp_path / "out") == first


async def test_another_file_of_the_same_version_does_not_go_on(tmp_path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    source = write_pixels(tmp_path / "some.parquet", pixels)
    with ExitStack() as stack:
        engines = []
        for seed in (1, 2):
            publish(repository := tmp_path / f"models {seed}", "digits", 3, good_file(seed))
            server = stack.enter_context(running_server("--model-repository", repository))
            engines.append(partial(open_remote, {"target": server.target}))
        first = await scored(source, tmp_path / "out", engines[0])
        (tmp_path / "out" / "part-00002.parquet").unlink()
        with pytest.raises(VitrineError, match="a run with another file of the model: name another folder"):
            await scored(source, tmp_path / "out", engines[1])
        assert await scored(source, tmp_path / "out", engines[0]) == first


async def test_a_run_of_an_earlier_version_goes_on(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    """Its note has no digest."""
    source, engine = write_pixels(tmp_path / "some.parquet", pixels), partial(open_local, tiny_artifact)
    first = await scored(source, tmp_path / "out", engine)
    note = json.loads((tmp_path / "out" / NOTE).read_bytes())
    assert len(note.pop("digest")) == 12
    (tmp_path / "out" / NOTE).write_text(json.dumps(note))
    assert await scored(source, tmp_path / "out", engine) == first


async def test_missing_pixels_are_a_row_with_its_error(
    engine: OpenEngine, tmp_path: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    rows = [row.tobytes() for row in pixels[:5]]
    path, holes = tmp_path / "holes.parquet", [rows[0], None, *rows[1:], b"short"]
    pq.write_table(pa.table({"pixels": pa.array(holes, pa.binary())}), path)
    scores = await scored(path, tmp_path / "out", engine)
    whole = await scored(write_pixels(tmp_path / "whole.parquet", pixels[:5]), tmp_path / "whole", engine)
    assert [row["error"] for row in scores] == [
        None, "the row has no pixels", *[None] * 4, "the row has 5 pixels, and the model takes 18 × 18",
    ]  # fmt: skip
    assert [row["digit"] for row in scores if row["error"] is None] == [row["digit"] for row in whole]
    assert [value for key, value in scores[1].items() if key not in ("id", "error")] == [None] * (len(scores[1]) - 2)


async def test_a_note_that_isnt_ours_stays(tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]) -> None:
    source, engine = write_pixels(tmp_path / "some.parquet", pixels), partial(open_local, tiny_artifact)
    (tmp_path / "out").mkdir()
    for note in ("half", "[]"):
        (tmp_path / "out" / "_run.json").write_text(note)
        with pytest.raises(VitrineError, match="name another folder"):
            await scored(source, tmp_path / "out", engine)


async def test_a_name_that_is_no_utf_8_is_a_row_like_others(
    tmp_path: Path, tiny_artifact: Path, drawings: Drawings
) -> None:
    (tmp_path / "images").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path / "images") + b"/caf\xe9.png")).write_bytes(drawings["a.png"])
    (row,) = await scored(tmp_path / "images", tmp_path / "out", partial(open_local, tiny_artifact))
    assert (row["id"], row["error"]) == (r"caf\xe9.png", None)


async def test_a_run_that_is_cancelled_waits_for_its_writing(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, engine = write_pixels(tmp_path / "some.parquet", pixels), partial(open_local, tiny_artifact)
    begun, goes_on = threading.Event(), threading.Event()
    writers: list[PartWriter] = []
    write = PartWriter.write

    def slow_write(writer: PartWriter, *arguments: Any) -> None:
        writers.append(writer)
        begun.set()
        assert goes_on.wait(PATIENCE_SECONDS)
        write(writer, *arguments)

    monkeypatch.setattr(PartWriter, "write", slow_write)
    running = asyncio.ensure_future(score(Job(open_source(source, 4), tmp_path / "out", engine)))
    assert await asyncio.to_thread(begun.wait, PATIENCE_SECONDS)
    for _ in range(2):  # the second one finds it at its last wait, wherever the first one found it
        running.cancel()
        await asyncio.wait([running], timeout=0.2)
    assert writers[0]._file.is_open
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not list((tmp_path / "out").glob("*.parquet"))


async def test_two_runs_dont_write_to_one_folder(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    source, engine = write_pixels(tmp_path / "some.parquet", pixels), partial(open_local, tiny_artifact)
    job = Job(open_source(source, 4), tmp_path / "out", engine)
    async with engine() as opened:
        with results_of(job, opened.model).held(), pytest.raises(VitrineError, match="another run writes to"):
            await score(job)
    assert (await score(job)).images == 16


async def test_two_writers_of_a_part_dont_share_a_file(
    tmp_path: Path, tiny_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    """As of a worker that was thought dead, and of the one that got its part. On two nodes they may have one pid."""
    source = open_source(write_pixels(tmp_path / "some.parquet", pixels), 4)
    job = Job(source, tmp_path / "out", partial(open_local, tiny_artifact))
    part = source.parts[0]
    async with job.open_engine() as engine:
        results = results_of(job, engine.model)
        with results.held():
            await asyncio.gather(*(score_part(source, part, results, engine, lambda _: None) for _ in range(2)))
    assert [row["id"] for row in rows_of(tmp_path / "out")] == [f"some.parquet:{row}" for row in range(part.images)]


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_the_command_says_what_it_did(tmp_path: Path, drawings: Drawings, tiny_artifact: Path) -> None:
    source = as_folder(tmp_path, drawings)
    arguments = (source, "--out", tmp_path / "out", "--local", "--artifact", tiny_artifact)
    ran = run(*arguments)
    assert ran.exit_code == 0, ran.output
    assert "10 images, 1 of them can't be read" in ran.output
    again = run(*arguments, "--json")
    document = json.loads(again.stdout)
    assert (document["images"], document["images_before"]) == (0, 10)


def test_workers_without_ray_are_a_sentence(
    tmp_path: Path, drawings: Drawings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitrine.bulk.cli.scoring.find_spec", lambda _: None)
    ran = run(as_folder(tmp_path, drawings), "--out", tmp_path / "out", "--ray-workers", "2")
    assert ran.exit_code == 1
    assert "--ray-workers needs the extra `ray`: pip install 'vitrine-serving[ray]'" in ran.output


@pytest.mark.parametrize("folder", [".", "out"])
def test_results_dont_go_into_the_source(folder: str, tmp_path: Path, drawings: Drawings) -> None:
    source = as_folder(tmp_path, drawings)
    ran = run(source, "--out", source / folder, "--local")
    assert ran.exit_code == 1
    assert "the results would become a part of the source" in ran.output


async def test_an_image_that_there_was_no_room_for_comes_again(
    tmp_path: Path, drawings: Drawings, tiny_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classify, refused = Service.classify, list[ClassifyRequest]()

    async def classify_later(self: Service, request: ClassifyRequest, call: Call) -> Any:
        if len(refused) < 3:
            refused.append(request)
            raise Overloaded("OVERLOADED", "too much to do", retry_after=0.01)
        return await classify(self, request, call)

    monkeypatch.setattr(Service, "classify", classify_later)
    rows = await scored(as_folder(tmp_path, drawings), tmp_path / "out", partial(open_local, tiny_artifact))
    assert len(refused) == 3
    assert [row["id"].rpartition("/")[2] for row in rows if row["error"]] == [BROKEN]


def test_a_wrong_layer_and_a_missing_server_are_sentences(
    tmp_path: Path, drawings: Drawings, tiny_artifact: Path
) -> None:
    source = as_folder(tmp_path, drawings)
    ran = run(source, "--out", tmp_path / "out", "--local", "--artifact", tiny_artifact, "--activations", "relu_9")
    assert ran.exit_code == 1
    assert "has no layer 'relu_9'; its layers: input, linear_1" in ran.output
    ran = run(source, "--out", tmp_path / "out", "--target", "127.0.0.1:1", "--timeout", "2")
    assert ran.exit_code == 1
    assert "127.0.0.1:1" in ran.output
    assert "Traceback" not in ran.output


def test_a_run_that_is_killed_goes_on(tmp_path: Path, tiny_artifact: Path) -> None:
    pixels = random_pixels(5_000)
    source = write_pixels(tmp_path / "many.parquet", pixels, rows=1_000)
    folder = tmp_path / "out"
    arguments: list[str | Path] = [
        source,
        "--out",
        folder,
        "--local",
        "--artifact",
        tiny_artifact,
        "--part-images",
        "1000",
    ]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(list(folder.glob("*.parquet"))) == 2
    assert len(list(folder.glob("_*.tmp"))) == 1  # of the third part, in which it was killed
    ran = run(*arguments, "--json")
    document = json.loads(ran.stdout)
    assert (document["images_before"], document["images"]) == (2_000, 3_000)
    ids = [row["id"] for row in rows_of(folder)]
    assert ids == [f"many.parquet:{row}" for row in range(5_000)]
    assert not list(folder.glob("_*.tmp"))


KILLED = """
import os, signal
from vitrine.bulk.cli import score
from vitrine.bulk.results import PartWriter

write, writers = PartWriter.write, []

def write_and_die(writer, ids, scores):
    write(writer, ids, scores)
    if writer not in writers:
        writers.append(writer)
    if len(writers) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

PartWriter.write = write_and_die
score()
"""
"""Scores until the third part is half written."""


def test_a_server_that_restarts_costs_no_image(tmp_path: Path, tiny_artifact: Path) -> None:
    pixels = random_pixels(8_000)
    source = write_pixels(tmp_path / "many.parquet", pixels, rows=1_000)
    with running_server(tiny_artifact) as first:
        port = first.target.rpartition(":")[2]
        stopped = threading.Event()

        def stop(_images: int) -> None:
            if not stopped.is_set():
                first.process.kill()
                first.process.wait(PATIENCE_SECONDS)
                stopped.set()

        engine = partial(open_remote, {"target": first.target})
        job = Job(open_source(source, 1_000), tmp_path / "out", engine)
        scoring = threading.Thread(target=lambda: asyncio.run(score(job, stop)))
        scoring.start()
        assert stopped.wait(PATIENCE_SECONDS)
        with running_server(tiny_artifact, "--port", port):
            scoring.join(PATIENCE_SECONDS)
    assert not scoring.is_alive()
    assert pq.read_table(tmp_path / "out").num_rows == 8_000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
async def test_a_damaged_note_is_said(
    content: bytes, tmp_path: Path, drawings: Drawings, judging_artifact: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NOTE).write_bytes(content)
    with pytest.raises(VitrineError, match="is damaged"):
        await scored(as_folder(tmp_path, drawings), tmp_path / "out", partial(open_local, judging_artifact))


async def test_a_note_that_cannot_be_written_is_said(
    tmp_path: Path, drawings: Drawings, judging_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(VitrineError, match=r"_run\.json can't be written: No space left"):
        await scored(as_folder(tmp_path, drawings), tmp_path / "out", partial(open_local, judging_artifact))
