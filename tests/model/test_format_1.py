"""Artifacts of format 1 stay readable: a file that an older Vitrine wrote is loaded, checked, served and upgraded."""

import hashlib
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from support.artifacts import export_random, random_pixels
from support.serving import running_server

from vitrine.model import DIGITS, DIGITS_INPUT, ArtifactError, ArtifactMetadata, LayerKind, layer_catalogue
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import Device
from vitrine.server.engine.session import open_engine
from vitrine.training.cli import main
from vitrine.training.network.artifact_file import data_path
from vitrine.training.network.upgrade import upgrade
from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1 import classifier_pb2_grpc as pb_grpc

OLD = Path(__file__).with_name("data") / "format_1.onnx"


def properties_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path, load_external_data=False).metadata_props}


def test_the_file_is_of_format_1() -> None:
    properties = properties_of(OLD)
    assert properties["vitrine.format_version"] == "1"
    assert "vitrine.input" not in properties


def test_it_is_read_as_if_it_were_of_this_format() -> None:
    metadata = ArtifactMetadata.from_properties(properties_of(OLD))
    assert (metadata.name, metadata.input, metadata.classes) == ("format_1", DIGITS_INPUT, DIGITS)
    assert metadata.layers == layer_catalogue([8])
    assert [layer.shape for layer in metadata.layers] == [(324,), (8,), (8,), (10,), (10,)]
    assert metadata.golden.pixels.shape == (4, 18, 18)
    assert metadata.novelty_threshold == -2.5
    assert metadata.statistics is not None
    assert metadata.statistics.images == 64
    again = ArtifactMetadata.from_properties(metadata.to_properties())
    assert again.to_properties() == metadata.to_properties()


@pytest.mark.parametrize("value", ["10", "-1", "true"])
def test_a_damaged_catalogue_of_format_1_is_refused(value: str) -> None:
    properties = properties_of(OLD)
    damaged = properties["vitrine.layers"].replace('"width": 8', f'"width": {value}')
    assert damaged != properties["vitrine.layers"]
    with pytest.raises(ArtifactError, match="the layer catalogue"):
        ArtifactMetadata.from_properties(properties | {"vitrine.layers": damaged})


def test_it_is_checked_and_calculates_what_its_parameters_say() -> None:
    artifact = read_artifact(OLD)
    pixels = random_pixels(5)
    names = [layer.name for layer in artifact.metadata.layers]
    computed = open_engine(artifact, Device.CPU).run(pixels, names)
    values = pixels.reshape(5, -1) / np.float32(255)
    for layer in artifact.metadata.layers:
        if layer.kind is LayerKind.LINEAR:
            stored = artifact.parameters[layer.name]
            values = values @ stored.weight.T + stored.bias
        elif layer.kind is LayerKind.RELU:
            values = np.maximum(values, 0)
        elif layer.kind is LayerKind.SOFTMAX:
            values = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(computed[layer.name], values, rtol=0, atol=1e-5)


def test_it_is_served() -> None:
    golden = read_artifact(OLD).metadata.golden
    tensor = pb.Tensor(shape=golden.pixels.shape, dtype=pb.DATA_TYPE_UINT8, data=golden.pixels.tobytes())
    with running_server(OLD) as server, grpc.insecure_channel(server.target) as channel:
        response = pb_grpc.ClassifierServiceStub(channel).Classify(pb.ClassifyRequest(pixels=tensor))
    assert list(response.digits) == golden.activations["softmax"].argmax(axis=1).tolist()


def outputs(path: Path, count: int) -> dict[str, bytes]:
    artifact = read_artifact(path)
    names = [*(layer.name for layer in artifact.metadata.layers), "novelty"]
    computed = open_engine(artifact, Device.CPU).run(random_pixels(count), names)
    return {name: values.tobytes() for name, values in computed.items()}


def test_the_graph_that_is_exported_is_as_ever(tmp_path: Path) -> None:
    new = export_random(tmp_path / "new.onnx", [8], seed=1, novelty_threshold=-2.5)
    assert onnx.load(new).graph == onnx.load(OLD).graph


@pytest.mark.parametrize("inline_limit", [1 << 20, 100])
def test_an_upgraded_file_calculates_the_same(tmp_path: Path, inline_limit: int) -> None:
    """Bit for bit; weights beside the file run as they lie there, and are added up in another order."""
    new, inside = tmp_path / "new.onnx", inline_limit > 100
    written = upgrade(OLD, new, inline_limit)
    assert properties_of(new)["vitrine.format_version"] == "2"
    assert (written.data_sha256 is None) == inside
    assert onnx.load(new, load_external_data=False).graph.node == onnx.load(OLD).graph.node
    for count in (1, 7, 64):
        before, after = outputs(OLD, count), outputs(new, count)
        if inside:
            assert after == before
        for name, values in before.items():
            assert np.allclose(np.frombuffer(after[name], "<f4"), np.frombuffer(values, "<f4"), atol=1e-5)


def test_an_upgrade_takes_data_inside_again_and_replaces_a_file_only_where_that_is_said(tmp_path: Path) -> None:
    beside, path = tmp_path / "beside.onnx", tmp_path / "model.onnx"
    for each in (beside, path):
        upgrade(OLD, each, inline_limit=100)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=r"model\.onnx exists: choose another file, or replace it with --overwrite"):
        upgrade(beside, path)
    assert path.read_bytes() == before
    assert upgrade(beside, path, overwrite=True).data_sha256 is None
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["beside.onnx", "beside.onnx.data", "model.onnx"]
    assert outputs(path, 7) == outputs(OLD, 7)


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_upgrade_never_overwrites_the_original(tmp_path: Path, overwrite: bool) -> None:
    path, link = tmp_path / "model.onnx", tmp_path / "link.onnx"
    path.write_bytes(OLD.read_bytes())
    link.symlink_to(path)
    for new in (path, link, tmp_path / ".." / tmp_path.name / "model.onnx"):
        with pytest.raises(ArtifactError, match="would overwrite the original"):
            upgrade(path, new, overwrite=overwrite)
    assert path.read_bytes() == OLD.read_bytes()


def test_an_upgrade_into_a_folder_that_is_missing_says_so(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["upgrade", str(OLD), str(tmp_path / "models" / "new.onnx")])
    assert (result.exit_code, result.stderr) == (
        1,
        f"Error: there is no folder {tmp_path / 'models'} for new.onnx: create it first\n",
    )
    assert not (tmp_path / "models").exists()


def test_the_command_says_where_the_new_file_is(tmp_path: Path) -> None:
    before = hashlib.sha256(OLD.read_bytes()).hexdigest()
    result = CliRunner().invoke(main, ["upgrade", str(OLD), str(tmp_path / "new.onnx")])
    assert (result.exit_code, result.output) == (0, f"{tmp_path / 'new.onnx'}\n")
    assert hashlib.sha256(OLD.read_bytes()).hexdigest() == before
    assert read_artifact(tmp_path / "new.onnx").metadata.classes == DIGITS


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"hello", "isn't an ONNX file, or is cut off"), (b"", "can't be read: it isn't a Vitrine artifact")],
)
def test_what_is_no_artifact_is_not_upgraded(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "old.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=says):
        upgrade(tmp_path / "old.onnx", tmp_path / "new.onnx")
    assert not (tmp_path / "new.onnx").exists()


def test_other_data_beside_the_file_are_not_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    upgrade(OLD, path, inline_limit=100)
    data_path(path).write_bytes(bytes(data_path(path).stat().st_size))
    with pytest.raises(ArtifactError, match="isn't the file that it was exported with"):
        upgrade(path, tmp_path / "new.onnx")
