"""Replays of captured images: what has changed is said, whatever the engine, and whatever has happened to the files."""

import asyncio
import csv
import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.artifacts import export_random, random_pixels
from support.serving import RunningServer, a_call, running_server

from vitrine.bulk import Job, open_source, score
from vitrine.bulk.cli import replay as command
from vitrine.bulk.engines import OpenEngine
from vitrine.bulk.engines.local import open_local
from vitrine.bulk.engines.remote import open_remote
from vitrine.bulk.replay import Change, ReplayJob, comparison, open_captures, replay
from vitrine.bulk.replay.report import table_of_changes
from vitrine.model import VitrineError
from vitrine.server.capture.config import CaptureConfig
from vitrine.server.engine.device import Device
from vitrine.server.engine.loading import load_artifact
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.opening import open_service
from vitrine.server.service_config import ServiceConfig

IMAGES, REQUESTS = 1500, 3


async def capture(
    artifact: Path, folder: Path, pixels: npt.NDArray[np.uint8], layers: Sequence[str] = ("all",)
) -> Path:
    """Captures images, in `REQUESTS` requests, as one more part."""
    config = ServiceConfig(artifact, capture=CaptureConfig(folder, ratio=1.0, layers=tuple(layers)))
    async with open_service(config) as service:
        for some in np.array_split(pixels, REQUESTS):
            with closing(a_call()) as call:
                await service.classify(ClassifyRequest(service.model("", call), some), call)
    return folder


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory, judging_artifact: Path) -> Path:
    """A folder with captured images in one part."""
    folder = tmp_path_factory.mktemp("captures")
    return asyncio.run(capture(judging_artifact, folder, random_pixels(IMAGES)))


@pytest.fixture(scope="module")
def retrained_artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the same shape with other weights."""
    path = tmp_path_factory.mktemp("retrained") / "tiny.onnx"
    return export_random(path, [32, 16], seed=1, novelty_threshold=-2.4)


@pytest.fixture(params=["local", "remote"])
def engine(request: pytest.FixtureRequest, retrained_artifact: Path) -> OpenEngine:
    if request.param == "local":
        return partial(open_local, retrained_artifact)
    server = request.getfixturevalue("retrained_server")
    return partial(open_remote, {"target": server.target})


@pytest.fixture(scope="module")
def retrained_server(retrained_artifact: Path) -> Iterator[RunningServer]:
    with running_server(retrained_artifact) as running:
        yield running


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(command, list(map(str, arguments)))


async def test_the_same_model_answers_as_before(captured: Path, judging_artifact: Path) -> None:
    compared = await replay(ReplayJob(open_captures(captured), partial(open_local, judging_artifact)))
    assert (compared.images, compared.changed, compared.confusion) == (IMAGES, 0, {})
    assert compared.largest_difference < 1e-5
    assert compared.layers.keys() == {"input", "linear_1", "relu_1", "linear_2", "relu_2", "linear_3", "softmax"}
    assert all(layer.largest < 1e-5 for layer in compared.layers.values())
    assert compared.novelty.captured == pytest.approx(compared.novelty.now, abs=1e-2)
    assert (compared.damaged, compared.errors, compared.not_compared) == ({}, {}, {})


async def test_what_has_changed_is_said(
    captured: Path, judging_artifact: Path, retrained_artifact: Path, engine: OpenEngine
) -> None:
    """The figures are those of both models, calculated by hand."""
    told: list[Change] = []
    compared = await replay(ReplayJob(open_captures(captured), engine, told.append))
    pixels = random_pixels(IMAGES)
    before, now = (
        load_artifact(path, Device.CPU).engine.run(pixels, ["relu_1", "softmax", "novelty"])
        for path in (judging_artifact, retrained_artifact)
    )
    labels, labels_now = (values["softmax"].argmax(axis=1) for values in (before, now))
    digits, digits_now = before["novelty"] <= -2.5, now["novelty"] <= -2.4
    changed = np.flatnonzero((labels != labels_now) | (digits != digits_now))
    assert compared.images == IMAGES
    assert 0 < compared.changed == len(changed) == len(told)
    assert compared.confusion.total() == np.count_nonzero(labels != labels_now)
    pair = next(iter(compared.confusion))
    count = np.count_nonzero((labels == int(pair[0])) & (labels_now == int(pair[1])))
    assert compared.confusion[pair] == count
    differences = np.abs(before["softmax"] - now["softmax"]).max(axis=1)
    assert compared.difference / IMAGES == pytest.approx(differences.mean(), rel=1e-4)
    assert compared.largest_difference == pytest.approx(differences.max(), rel=1e-4)
    assert compared.beyond[0.1] == np.count_nonzero(differences > 0.1)
    assert compared.novelty.now / IMAGES == pytest.approx(now["novelty"].mean(), abs=1e-4)
    assert compared.novelty.became_digits == np.count_nonzero(digits_now & ~digits)
    assert compared.novelty.became_no_digits == np.count_nonzero(digits & ~digits_now)
    relative = np.linalg.norm(now["relu_1"] - before["relu_1"]) / np.linalg.norm(before["relu_1"])
    assert compared.layers["relu_1"].relative == pytest.approx(relative, rel=1e-4)
    for change, row in zip(told, changed, strict=True):
        assert np.array_equal(change.pixels, pixels[row])
        assert (change.captured_label, change.label) == (str(labels[row]), str(labels_now[row]))
        assert (change.captured_is_digit, change.is_digit) == (digits[row], digits_now[row])
        assert change.image == row % (IMAGES // REQUESTS)
    largest = [change.difference for change in compared.changes]
    assert largest == sorted(largest, reverse=True)


def test_the_command_reports_lists_and_draws(captured: Path, retrained_artifact: Path, tmp_path: Path) -> None:
    arguments = (captured, "--local", "--artifact", retrained_artifact)
    files = ("--csv", tmp_path / "changed.csv", "--plot", tmp_path / "sheet.png")
    ran = run(*arguments, *files)
    assert ran.exit_code == 0, ran.output
    document = json.loads(run(*arguments, "--json").stdout)
    with (tmp_path / "changed.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == document["changed"]
    largest = max(rows, key=lambda row: float(row["difference"]))
    assert largest["request_id"] == document["changed_images"][0]["request_id"]
    assert f"{largest['request_id']}/{largest['image']}" in ran.output
    for words in ("1,500 images, answered by tiny@", "another class", "novelty: ", "relu_1", "largest changes of"):
        assert words in ran.output
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert min(sheet.size) > 1000


def test_a_damaged_part_is_named_and_passed_over(
    tmp_path: Path, judging_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    for _ in range(3):
        asyncio.run(capture(judging_artifact, tmp_path, pixels))
    (tmp_path / "foreign.parquet").write_bytes(b"no Parquet at all")
    parts = sorted(tmp_path.glob("capture-*"))
    parts[0].write_bytes(parts[0].read_bytes()[:-20])
    content = bytearray(parts[1].read_bytes())
    content[len(content) // 4] ^= 1  # one bit of the data; the footer is whole
    parts[1].write_bytes(content)
    ran = run(tmp_path, "--local", "--artifact", judging_artifact, "--json")
    assert ran.exit_code == 1
    document = json.loads(ran.stdout)
    assert document["images"] == len(pixels)
    assert set(document["damaged"]) == {parts[0].name, parts[1].name, "foreign.parquet"}
    said = run(tmp_path, "--local", "--artifact", judging_artifact)
    assert f"damaged: {parts[1].name}: " in said.output


def test_a_foreign_table_is_no_captured_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"time": [1]}), tmp_path / "foreign.parquet")
    damaged = open_captures(tmp_path).damaged
    assert damaged == {"foreign.parquet": "it has no column request_id: it isn't a captured file"}


async def test_captured_images_can_be_scored(
    tmp_path: Path, judging_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    folder = await capture(judging_artifact, tmp_path / "captures", pixels)
    (folder / ".capture-half.parquet.tmp").write_bytes(b"half")
    summary = await score(Job(open_source(folder), tmp_path / "out", partial(open_local, judging_artifact)))
    assert (summary.images, summary.errors) == (len(pixels), 0)


async def test_a_part_that_goes_meanwhile_is_no_fault(
    tmp_path: Path, judging_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    for _ in range(2):
        await capture(judging_artifact, tmp_path, pixels)
    captures = open_captures(tmp_path)
    captures.parts[0].path.unlink()
    compared = await replay(ReplayJob(captures, partial(open_local, judging_artifact)))
    assert (compared.images, compared.damaged) == (len(pixels), {})


async def test_layers_of_other_widths_are_not_compared(captured: Path, tmp_path: Path) -> None:
    other = export_random(tmp_path / "other.onnx", [20])
    compared = await replay(ReplayJob(open_captures(captured), partial(open_local, other)))
    assert compared.layers.keys() == {"input", "softmax"}
    assert compared.not_compared["relu_1"] == "it had 32 units, and has 20"
    assert compared.not_compared["relu_2"] == "the model has no such layer"
    assert compared.novelty.images == 0


async def test_a_model_of_other_classes_is_compared_by_labels(captured: Path, tmp_path: Path) -> None:
    other = export_random(tmp_path / "other.onnx", [32, 16], classes=tuple("9876543210"))
    compared = await replay(ReplayJob(open_captures(captured), partial(open_local, other)))
    assert compared.probabilities_compared == 0
    assert compared.changed == compared.confusion.total() == IMAGES  # the same units, of which none is called the same
    assert {int(before) + int(now) for before, now in compared.confusion} == {9}


async def test_images_of_another_shape_are_refused(captured: Path, arrows_artifact: Path, tmp_path: Path) -> None:
    with pytest.raises(VitrineError, match=r"have 18 × 18 pixels, and arrows@\w+ takes 12 × 20: choose .* --captured"):
        await replay(ReplayJob(open_captures(captured), partial(open_local, arrows_artifact)))


async def test_images_of_another_shape_are_refused_before_any_is_classified(
    tmp_path: Path, judging_artifact: Path, arrows_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    await capture(judging_artifact, tmp_path, pixels)
    next(tmp_path.glob("capture-*")).rename(tmp_path / "a.parquet")  # the first one
    await capture(arrows_artifact, tmp_path, random_pixels(5, shape=(12, 20)), layers=())
    classified: list[int] = []
    with pytest.raises(VitrineError, match="choose images of one model"):
        await replay(ReplayJob(open_captures(tmp_path), partial(open_local, judging_artifact)), classified.append)
    assert classified == []


@pytest.mark.parametrize("damage", ["classes", "input_shape", "pixels", "label"])
async def test_contents_that_no_server_writes_are_damage(
    tmp_path: Path, judging_artifact: Path, pixels: npt.NDArray[np.uint8], damage: str
) -> None:
    """The file is a whole Parquet file, with all columns; what is in them is something else."""
    for _ in range(2):
        await capture(judging_artifact, tmp_path, pixels)
    part = min(tmp_path.glob("capture-*"))
    table = pq.read_table(part)
    if damage in table.column_names:
        place = table.column_names.index(damage)
        table = table.set_column(place, damage, pa.array([[3]] * len(table)))
    else:
        table = table.replace_schema_metadata({**table.schema.metadata, f"vitrine.{damage}".encode(): b"3"})
    pq.write_table(table, part)
    compared = await replay(ReplayJob(open_captures(tmp_path), partial(open_local, judging_artifact)))
    assert set(compared.damaged) == {part.name}
    assert compared.images == len(pixels)


def test_only_errors_of_the_table_are_told_of_it(tmp_path: Path) -> None:
    """An error of the replay, such as that of a connection, is no error of the file."""
    with pytest.raises(ConnectionRefusedError), table_of_changes(tmp_path / "changed.csv"):
        raise ConnectionRefusedError(111, "Connection refused")
    nowhere = tmp_path / "no folder" / "changed.csv"
    with pytest.raises(VitrineError, match=r"changed\.csv can't be written: No such file"), table_of_changes(nowhere):
        pass


def test_a_full_disk_is_an_error_of_the_table(captured: Path, retrained_artifact: Path) -> None:
    ran = run(captured, "--local", "--artifact", retrained_artifact, "--csv", "/dev/full")
    assert ran.exit_code == 1
    assert ran.output.splitlines()[-1].endswith("/dev/full can't be written: No space left on device")


async def test_images_of_one_model_can_be_chosen(
    tmp_path: Path, judging_artifact: Path, arrows_artifact: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    await capture(judging_artifact, tmp_path, pixels)
    await capture(arrows_artifact, tmp_path, random_pixels(5, shape=(12, 20)), layers=())
    captures = open_captures(tmp_path, "arrows")
    compared = await replay(ReplayJob(captures, partial(open_local, arrows_artifact)))
    assert (compared.images, compared.changed) == (5, 0)
    label = captures.parts[0].model
    assert open_captures(tmp_path, label).images == 5
    with pytest.raises(VitrineError, match="has no images that letters answered, but of arrows@"):
        open_captures(tmp_path, "letters")


async def test_changes_beyond_a_number_are_counted_alone(
    captured: Path, retrained_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = await replay(ReplayJob(open_captures(captured), partial(open_local, retrained_artifact)))
    monkeypatch.setattr(comparison, "MOST_CHANGES", 5)
    compared = await replay(ReplayJob(open_captures(captured), partial(open_local, retrained_artifact)))
    assert compared.changed == everything.changed > 5
    assert [change.difference for change in compared.changes] == [c.difference for c in everything.changes[:5]]


@pytest.mark.parametrize("folder", ["nothing", "empty"])
def test_a_folder_without_parts_is_a_sentence(tmp_path: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    ran = run(tmp_path / folder, "--local")
    assert ran.exit_code == 1
    assert len(ran.output.splitlines()) == 1
    assert "can't be read: No such file" in ran.output or "has no captured images" in ran.output
