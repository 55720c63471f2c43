"""The artifact computes the same as PyTorch, layer by layer, and describes itself."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from vitrine.model import (
    DIGITS,
    NOVELTY,
    ArtifactError,
    ArtifactMetadata,
    LayerKind,
    OutputKind,
    TrainingFacts,
    deviation,
)
from vitrine.training import MLP, compute_activations, export
from vitrine.training.network.artifact_file import data_path
from vitrine.training.network.export import compute_novelty

FACTS = TrainingFacts("toy", seed=3, epochs=5, metrics={"test_accuracy": 0.9}, versions={"torch": torch.__version__})


def random_mlp(hidden: tuple[int, ...] = (16, 8), output: OutputKind = "softmax", seed: int = 0) -> MLP:
    return MLP(hidden, output, generator=torch.Generator().manual_seed(seed))


def random_pixels(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 18, 18), np.uint8)


def export_to(path: Path, mlp: MLP, **options: Any) -> ArtifactMetadata:
    return export(mlp, path, name="toy", facts=FACTS, pixels=random_pixels(10), **options)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
@pytest.mark.parametrize("hidden", [(8,), (1,), (512, 256), (16, 16, 16), (32, 24, 16, 12, 8, 4)], ids=str)
def test_every_layer_is_what_pytorch_computes_at_every_batch_size(
    tmp_path: Path, hidden: tuple[int, ...], output: OutputKind
) -> None:
    mlp = random_mlp(hidden, output)
    export_to(tmp_path / "model.onnx", mlp)
    session = session_of(tmp_path / "model.onnx")
    names = [layer.name for layer in mlp.layers]
    for batch in (1, 2, 7, 64):
        pixels = random_pixels(batch)
        expected = compute_activations(mlp, pixels)
        assert list(expected) == names
        for name, computed in zip(names, session.run(names, {"pixels": pixels}), strict=True):
            assert computed.dtype == np.float32
            assert deviation(computed, expected[name]) <= 1e-5, (name, batch)


def test_the_graph_has_the_layers_as_outputs_and_only_standard_operators(tmp_path: Path) -> None:
    mlp = random_mlp()
    export_to(tmp_path / "model.onnx", mlp)
    model = onnx.load(tmp_path / "model.onnx")
    assert [output.name for output in model.graph.output] == [layer.name for layer in mlp.layers]
    assert [entry.name for entry in model.graph.input] == ["pixels"]
    assert {node.domain for node in model.graph.node} == {""}
    stored = {entry.name for entry in model.graph.initializer}
    linears = [layer.name for layer in mlp.layers if layer.kind is LayerKind.LINEAR]
    assert stored == {"full_scale"} | {f"{name}.{part}" for name in linears for part in ("weight", "bias")}


def test_the_metadata_says_what_it_is_and_what_it_computes(tmp_path: Path) -> None:
    mlp = random_mlp()
    written = export_to(tmp_path / "model.onnx", mlp)
    session = session_of(tmp_path / "model.onnx")
    read = ArtifactMetadata.from_properties(session.get_modelmeta().custom_metadata_map)
    assert (read.name, read.layers, read.classes, read.training) == ("toy", mlp.layers, DIGITS, FACTS)
    assert read.data_sha256 is written.data_sha256 is None
    for name, values in compute_activations(mlp, read.golden.pixels).items():
        np.testing.assert_array_equal(read.golden.activations[name], values)


def test_parameters_lie_beside_a_file_whatever_is_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model.onnx.data").write_bytes(b"another model's")
    export_to(tmp_path / "run" / "model.onnx", random_mlp(), inline_limit=100)
    assert Path("run", "model.onnx.data").stat().st_size > 1000


def test_large_parameters_lie_beside_the_file_with_their_digest(tmp_path: Path) -> None:
    mlp, path = random_mlp(), tmp_path / "model.onnx"
    written = export_to(path, mlp, inline_limit=100)
    assert path.stat().st_size < data_path(path).stat().st_size
    properties = session_of(path).get_modelmeta().custom_metadata_map
    digest = hashlib.sha256(data_path(path).read_bytes()).hexdigest()
    assert ArtifactMetadata.from_properties(properties).data_sha256 == written.data_sha256 == digest
    onnx.checker.check_model(path, full_check=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data"}


def test_both_files_can_be_read_by_whoever_can_read_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    export_to(tmp_path / "model.onnx", random_mlp(), inline_limit=100)
    assert {oct(entry.stat().st_mode & 0o777) for entry in tmp_path.iterdir()} == {"0o644"}


@pytest.mark.parametrize("mode", [0o777, 0o2775])
def test_nobody_else_can_write_the_files_of_a_shared_folder(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    export_to(tmp_path / "model.onnx", random_mlp(), inline_limit=100)
    assert {oct(entry.stat().st_mode & 0o777) for entry in tmp_path.iterdir()} == {"0o644"}


def test_the_file_is_checked_and_not_the_model_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of a model in memory is limited to 2 GiB."""
    checked: list[object] = []
    monkeypatch.setattr(onnx.checker, "check_model", lambda model, **_options: checked.append(model))
    export_to(tmp_path / "model.onnx", random_mlp())
    (file,) = checked
    assert isinstance(file, str)
    assert file.endswith("model.onnx")


def test_an_export_that_can_not_be_finished_leaves_an_old_one_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    export_to(path, random_mlp(seed=1), inline_limit=100)

    def fails(_descriptor: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        export_to(path, random_mlp(seed=2))
    session_of(path)


def test_a_new_export_leaves_no_data_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export_to(path, random_mlp(seed=1), inline_limit=100)
    export_to(path, random_mlp(seed=2), inline_limit=100)
    session_of(path)
    export_to(path, random_mlp(seed=3))
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_an_artifact_that_deviates_is_not_written_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    export_to(path, random_mlp())
    before = path.read_bytes()
    monkeypatch.setattr(sys.modules[compute_novelty.__module__], "EXPORT_TOLERANCE", -1.0)
    with pytest.raises(ArtifactError, match="input deviates from PyTorch"):
        export_to(path, random_mlp(seed=1))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["model.onnx"]


def test_weights_that_are_no_numbers_are_not_exported(tmp_path: Path) -> None:
    mlp = random_mlp()
    torch.nn.init.constant_(mlp.get_parameter("linears.linear_2.bias"), float("nan"))
    with pytest.raises(ArtifactError, match="linear_2 deviates"):
        export_to(tmp_path / "model.onnx", mlp)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inline_limit", [1 << 30, 100])
@pytest.mark.parametrize("output", ["softmax", "sigmoid"])
def test_the_novelty_is_what_pytorch_computes_and_minus_log_sum_exp_of_the_last_linear_layer(
    tmp_path: Path, output: OutputKind, inline_limit: int
) -> None:
    mlp = random_mlp((16, 8), output)
    export_to(tmp_path / "model.onnx", mlp, novelty_threshold=-2.5, inline_limit=inline_limit)
    session = session_of(tmp_path / "model.onnx")
    for batch in (0, 1, 2, 7, 64):
        pixels = random_pixels(batch)
        novelty, logits = session.run([NOVELTY, "linear_3"], {"pixels": pixels})
        assert (novelty.dtype, novelty.shape) == (np.float32, (batch,))
        assert deviation(novelty, compute_novelty(mlp, pixels)) <= 1e-5
        np.testing.assert_allclose(novelty, -np.log(np.exp(logits.astype(np.float64)).sum(axis=1)), rtol=0, atol=1e-5)


def test_a_small_novelty_of_large_logits_is_no_reason_to_refuse_the_network(tmp_path: Path) -> None:
    """It deviates as much as the logits, which is little only relative to them."""
    mlp, pixels = random_mlp((64, 32)), random_pixels(10)
    with torch.no_grad():
        mlp.get_parameter("linears.linear_3.weight").mul_(1e4)
        logits = mlp(torch.tensor(pixels))
        mlp.get_parameter("linears.linear_3.bias").sub_(logits[0].max())
    assert np.abs(compute_novelty(mlp, pixels[:1])).max() < 1
    export_to(tmp_path / "model.onnx", mlp, novelty_threshold=0.0)
    (novelty,) = session_of(tmp_path / "model.onnx").run([NOVELTY], {"pixels": pixels[:1]})
    assert abs(novelty[0] - compute_novelty(mlp, pixels[:1])[0]) > 1e-5


def test_the_novelty_of_large_logits_does_not_overflow(tmp_path: Path) -> None:
    """exp(88.8) is more than float32 can hold."""
    mlp = random_mlp()
    with torch.no_grad():
        mlp.get_parameter("linears.linear_3.bias").copy_(torch.linspace(100, 1000, 10))
    export_to(tmp_path / "model.onnx", mlp, novelty_threshold=0.0)
    (novelty,) = session_of(tmp_path / "model.onnx").run([NOVELTY], {"pixels": random_pixels(7)})
    np.testing.assert_allclose(novelty, -1000, rtol=0.01)


def test_with_a_threshold_the_graph_has_the_novelty_after_all_layers(tmp_path: Path) -> None:
    mlp = random_mlp()
    export_to(tmp_path / "plain.onnx", mlp)
    export_to(tmp_path / "novelty.onnx", mlp, novelty_threshold=-2.5)
    plain, graph = (onnx.load(tmp_path / f"{name}.onnx").graph for name in ("plain", "novelty"))
    count = len(plain.node)
    assert list(graph.node)[:count] == list(plain.node)
    assert list(graph.output)[:-1] == list(plain.output)
    assert list(graph.initializer)[:-1] == list(plain.initializer)
    assert [(node.op_type, list(node.input), list(node.output), node.name) for node in graph.node[count:]] == [
        ("ReduceLogSumExp", ["linear_3", "class_axis"], ["log_sum_exp"], ""),
        ("Neg", ["log_sum_exp"], ["novelty"], ""),
    ]
    assert [[(a.name, a.i) for a in node.attribute] for node in graph.node[count:]] == [[("keepdims", 0)], []]
    assert onnx.numpy_helper.to_array(graph.initializer[-1]).tolist() == [1]
    tensor = graph.output[-1].type.tensor_type
    assert (tensor.elem_type, [axis.dim_param for axis in tensor.shape.dim]) == (onnx.TensorProto.FLOAT, ["N"])


def test_the_metadata_has_the_threshold_and_the_golden_novelty_or_neither(tmp_path: Path) -> None:
    mlp, path = random_mlp(), tmp_path / "model.onnx"
    for threshold in (None, -2.5):
        written = export_to(path, mlp, novelty_threshold=threshold)
        read = ArtifactMetadata.from_properties(session_of(path).get_modelmeta().custom_metadata_map)
        assert read.novelty_threshold == written.novelty_threshold == threshold
        expected = None if threshold is None else compute_novelty(mlp, read.golden.pixels).tolist()
        assert (None if read.golden.novelty is None else read.golden.novelty.tolist()) == expected


def test_a_novelty_that_deviates_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys.modules[compute_novelty.__module__],
        "compute_novelty",
        lambda mlp, pixels: compute_novelty(mlp, pixels) + 1e-3,
    )
    with pytest.raises(ArtifactError, match="novelty deviates from PyTorch"):
        export_to(tmp_path / "model.onnx", random_mlp(), novelty_threshold=-2.5)
    assert list(tmp_path.iterdir()) == []
