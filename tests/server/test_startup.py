"""What a server refuses to serve, and the one sentence that it says then."""

import re
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from onnx import helper
from support.artifacts import export_random
from support.serving import refused_start, running_server

from vitrine.model import ArtifactError
from vitrine.server.cli.types import Port
from vitrine.server.engine.artifact import read_artifact
from vitrine.server.engine.device import CPU_PROVIDER, CUDA_PROVIDER, Device
from vitrine.server.engine.runtime import onnxruntime
from vitrine.server.engine.session import open_engine
from vitrine.server.errors import StartupError

WARNS = pytest.mark.filterwarnings("ignore:Specified provider")
"""ONNX Runtime warns of a provider that it lacks. As an error, which tests make of warnings, it would hide the rest."""

WITHOUT_CUDA = pytest.mark.skipif(CUDA_PROVIDER in onnxruntime.get_available_providers(), reason="CUDA is here")
"""For tests of CUDA's absence."""


def changed(artifact: Path, out: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    model = onnx.load(artifact)
    change(model)
    out.write_bytes(model.SerializeToString())
    return out


def set_property(model: onnx.ModelProto, key: str, value: str) -> None:
    next(entry for entry in model.metadata_props if entry.key == key).value = value


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hello.onnx"
    path.write_text("hello")
    assert "it isn't an ONNX file, or is cut off" in refused_start(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    assert "empty.onnx is not served: it is an empty file: copy or export it again" in refused_start(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "can't be read: No such file or directory" in refused_start(tmp_path / "missing.onnx")


def test_a_truncated_artifact_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(tiny_artifact.read_bytes()[: tiny_artifact.stat().st_size // 2])
    assert "it isn't an ONNX file, or is cut off" in refused_start(path)


def test_a_foreign_model_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    path = changed(tiny_artifact, tmp_path / "foreign.onnx", lambda model: model.ClearField("metadata_props"))
    assert "it isn't a Vitrine artifact" in refused_start(path)


def test_an_artifact_of_a_newer_format_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    path = changed(tiny_artifact, tmp_path / "new.onnx", lambda m: set_property(m, "vitrine.format_version", "99"))
    assert "its format version is 99, and this Vitrine reads 1 and 2" in refused_start(path)


def test_damaged_metadata_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    path = changed(tiny_artifact, tmp_path / "damaged.onnx", lambda m: set_property(m, "vitrine.layers", "[{]"))
    assert "its metadata is damaged" in refused_start(path)


def test_a_changed_weight_is_caught_by_the_golden_sample(tiny_artifact: Path, tmp_path: Path) -> None:
    def nudge(model: onnx.ModelProto) -> None:
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_2.bias")
        values = onnx.numpy_helper.to_array(bias).copy()
        values[3] += 0.01
        bias.CopyFrom(onnx.numpy_helper.from_array(values, "linear_2.bias"))

    said = refused_start(changed(tiny_artifact, tmp_path / "nudged.onnx", nudge))
    assert "its golden sample disagrees: linear_2 deviates by" in said


def test_weights_that_are_not_finite_are_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    def spoil(model: onnx.ModelProto) -> None:
        bias = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_1.bias")
        bias.raw_data = b"\xff" * len(bias.raw_data)  # NaN

    assert "its golden sample disagrees" in refused_start(changed(tiny_artifact, tmp_path / "nan.onnx", spoil))


def test_custom_operators_are_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    def ask(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("com.example", 1))
        next(node for node in model.graph.node if node.op_type == "Relu").domain = "com.example"

    said = refused_start(changed(tiny_artifact, tmp_path / "custom.onnx", ask))
    assert "it asks for custom operators (com.example)" in said


def test_what_a_file_says_forges_no_lines_of_the_log(tiny_artifact: Path, tmp_path: Path) -> None:
    def name_a_domain(model: onnx.ModelProto) -> None:
        model.opset_import.append(helper.make_opsetid("x\n2026 INFO forged\x1b[2J" + 1000 * "y", 1))

    said = refused_start(changed(tiny_artifact, tmp_path / "model.onnx", name_a_domain))
    assert r"x\n2026 INFO forged\x1b[2J" in said
    assert len(said) < 500


def test_a_graph_that_lacks_a_layer_is_refused(tiny_artifact: Path, tmp_path: Path) -> None:
    def drop(model: onnx.ModelProto) -> None:
        del model.graph.output[2]

    assert "its outputs aren't the layers of its catalogue" in refused_start(
        changed(tiny_artifact, tmp_path / "short.onnx", drop)
    )


def test_weights_beside_the_file_are_served(tmp_path: Path) -> None:
    path = export_random(tmp_path / "beside.onnx", [32], inline_limit=1000)
    assert path.with_name("beside.onnx.data").exists()
    with running_server(path) as server:
        assert server.stop() == 0


def test_other_weights_beside_the_file_are_refused(tmp_path: Path) -> None:
    path = export_random(tmp_path / "beside.onnx", [32], inline_limit=1000)
    data = path.with_name("beside.onnx.data")
    data.write_bytes(bytes(data.stat().st_size))
    assert "isn't the file that it was exported with" in refused_start(path)
    data.unlink()
    assert "beside.onnx.data can't be read: No such file or directory" in refused_start(path)


def test_weights_beside_the_file_that_are_cut_off_are_refused(tmp_path: Path) -> None:
    path = export_random(tmp_path / "beside.onnx", [32], inline_limit=1000)
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "offset":
                entry.value = str(10**9)
    path.write_bytes(model.SerializeToString())
    assert re.search(r"its linear_\d.weight is cut off", refused_start(path))


def test_weights_elsewhere_are_not_read(tmp_path: Path) -> None:
    path = export_random(tmp_path / "inside" / "beside.onnx", [32], inline_limit=1000)
    shutil.move(path.with_name("beside.onnx.data"), tmp_path / "secret")

    def point_outside(model: onnx.ModelProto) -> None:
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = "../secret"

    model = onnx.load(path, load_external_data=False)
    point_outside(model)
    path.write_bytes(model.SerializeToString())
    assert "its weights lie in ../secret; only beside.onnx.data beside it is read" in refused_start(path)


def relu(model: onnx.ModelProto) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.op_type == "Relu")


def put_a_branch(model: onnx.ModelProto) -> None:
    """A custom operator inside a branch, where a look at the graph's own nodes doesn't find it."""
    hidden = helper.make_node("Gelu", ["linear_1"], ["hidden"], domain="com.microsoft")
    value = helper.make_tensor_value_info("hidden", onnx.TensorProto.FLOAT, None)
    branch = helper.make_graph([hidden], "branch", [], [value])
    model.graph.initializer.append(helper.make_tensor("yes", onnx.TensorProto.BOOL, [], [True]))
    node = helper.make_node("If", ["yes"], ["relu_1"], then_branch=branch, else_branch=branch)
    relu(model).CopyFrom(node)


def read_a_constant_from_elsewhere(model: onnx.ModelProto) -> None:
    constant = onnx.TensorProto(name="c", data_type=onnx.TensorProto.FLOAT, dims=[1])
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="secret.bin")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["unused"], value=constant))


def calculate_with_other_weights(model: onnx.ModelProto) -> None:
    """The network is right, and what it gives out as its parameters is zeros."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_1.weight")
    model.graph.initializer.append(weight)
    model.graph.initializer[-1].name = "real"
    weight.raw_data = bytes(len(weight.raw_data))
    next(node for node in model.graph.node if node.op_type == "Gemm").input[1] = "real"


def store_something_else(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("more", onnx.TensorProto.FLOAT, [1], [1.0]))


def cut_a_weight(model: onnx.ModelProto) -> None:
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "linear_1.weight")
    tensor.raw_data = tensor.raw_data[:-1]


def retype_a_weight(model: onnx.ModelProto) -> None:
    next(tensor for tensor in model.graph.initializer if tensor.name == "linear_1.weight").data_type = 999


def replace_constant(model: onnx.ModelProto, name: str, values: np.ndarray) -> None:
    constant = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    constant.CopyFrom(onnx.numpy_helper.from_array(values, name))


def hide_weights_in_the_divisor(model: onnx.ModelProto) -> None:
    """A divisor for each pixel: names and operators are right, and the first layer is weighted by it."""
    replace_constant(model, "full_scale", np.linspace(128, 255, 324, dtype=np.float32).reshape(18, 18))


def divide_by_something_else(model: onnx.ModelProto) -> None:
    replace_constant(model, "full_scale", np.array(256, np.float32))


def divide_by_a_vector_of_one(model: onnx.ModelProto) -> None:
    replace_constant(model, "full_scale", np.array([255], np.float32))


def divide_by_another_type(model: onnx.ModelProto) -> None:
    replace_constant(model, "full_scale", np.array(255, np.float64))


def cut_the_divisor(model: onnx.ModelProto) -> None:
    constant = next(tensor for tensor in model.graph.initializer if tensor.name == "full_scale")
    constant.raw_data = constant.raw_data[:-1]


def retype_the_divisor(model: onnx.ModelProto) -> None:
    next(tensor for tensor in model.graph.initializer if tensor.name == "full_scale").data_type = 999


def read_the_divisor_from_elsewhere(model: onnx.ModelProto) -> None:
    constant = next(tensor for tensor in model.graph.initializer if tensor.name == "full_scale")
    constant.ClearField("raw_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value="secret.bin")


def give_an_attribute_twice(model: onnx.ModelProto) -> None:
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.attribute.insert(0, helper.make_attribute("transB", 0))


def make_an_attribute_a_fraction(model: onnx.ModelProto) -> None:
    """1.0 equals 1 in Python; ONNX has different types for them."""
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    gemm.attribute[0].CopyFrom(helper.make_attribute("transB", 1.0))


def say_something_twice(model: onnx.ModelProto) -> None:
    model.metadata_props.add(key="vitrine.name", value='"another"')


ANOTHER_DIVISOR = "its constant full_scale isn't float32 [] of 255.0, as in every graph"

OTHER_NETWORKS = {
    hide_weights_in_the_divisor: ANOTHER_DIVISOR,
    divide_by_something_else: ANOTHER_DIVISOR,
    divide_by_a_vector_of_one: ANOTHER_DIVISOR,
    divide_by_another_type: ANOTHER_DIVISOR,
    cut_the_divisor: ANOTHER_DIVISOR,
    retype_the_divisor: ANOTHER_DIVISOR,
    read_the_divisor_from_elsewhere: ANOTHER_DIVISOR,
    put_a_branch: "its operators aren't those that calculate the layers of its catalogue",
    read_a_constant_from_elsewhere: "its operators aren't those that calculate the layers of its catalogue",
    calculate_with_other_weights: "its operators aren't those that calculate the layers of its catalogue",
    give_an_attribute_twice: "its operators aren't those that calculate the layers of its catalogue",
    make_an_attribute_a_fraction: "its operators aren't those that calculate the layers of its catalogue",
    say_something_twice: "its metadata has a key twice",
    store_something_else: "what it stores isn't the weight and bias of each linear layer of its catalogue",
    cut_a_weight: "its linear_1.weight is cut off",
    retype_a_weight: "its linear_1.weight isn't float32 (32, 324), as its catalogue says",
}


@pytest.mark.parametrize(("change", "says"), OTHER_NETWORKS.items(), ids=[change.__name__ for change in OTHER_NETWORKS])
def test_a_network_other_than_the_catalogues_is_refused(
    tiny_artifact: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], says: str
) -> None:
    with pytest.raises(ArtifactError, match=re.escape(says)):
        read_artifact(changed(tiny_artifact, tmp_path / "other.onnx", change))


@WITHOUT_CUDA
def test_cuda_without_its_provider_is_refused_and_says_what_to_install(tiny_artifact: Path) -> None:
    said = refused_start(tiny_artifact, VITRINE_DEVICE="cuda")
    assert "has no CUDA provider" in said
    assert "pip install 'vitrine-serving[server-cuda]'" in said


@WARNS
@WITHOUT_CUDA
def test_auto_takes_the_cpu_where_cuda_is_announced_but_does_not_work(
    tiny_artifact: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = read_artifact(tiny_artifact)
    engine = open_engine(artifact, Device.AUTO, available=[CUDA_PROVIDER, CPU_PROVIDER])
    assert engine.provider == CPU_PROVIDER
    assert "the CPU takes over" in caplog.text


@WARNS
@WITHOUT_CUDA
def test_cuda_that_does_not_work_is_an_error_not_a_fallback(
    tiny_artifact: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartupError, match="CUDA provider doesn't work"):
        open_engine(read_artifact(tiny_artifact), Device.CUDA, available=[CUDA_PROVIDER, CPU_PROVIDER])
    assert capfd.readouterr().out == ""  # standard output is for the server's address


def test_a_taken_port_is_refused(tiny_artifact: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"can't listen on 127.0.0.1:{port}" in refused_start(tiny_artifact, "--port", str(port))


def test_the_port_of_a_kubernetes_service_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    assert Port(4711).convert("tcp://10.0.0.7:80", click.Option(["--port"]), None) == 4711
    assert "VITRINE_PORT=tcp://10.0.0.7:80 is the address of a Kubernetes Service" in caplog.text


def test_onnx_runtime_keeps_no_id_of_the_machine_and_reports_to_nobody(tmp_path: Path) -> None:
    """Its telemetry, when it is on, leaves an id and a queue of reports below the home folder."""
    home = {name: str(tmp_path) for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "TMPDIR")}
    environment = {"CI": ""}  # under CI it would be off anyway
    with running_server(**home, **environment) as server:
        assert server.stop() == 0
    assert list(tmp_path.rglob("*")) == []
