"""Triton's own client, unchanged, in a process of its own."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from oip.conftest import EIGHT, Report
from support.artifacts import random_mlp

from vitrine.model import TOLERANCE, prepare
from vitrine.training.network.export import compute_activations

Pixels = npt.NDArray[np.uint8]


def expected(pixels: Pixels) -> dict[str, npt.NDArray[np.float32]]:
    return compute_activations(random_mlp([32, 16]), pixels)


def assert_activations(found: dict[str, npt.NDArray[Any]], pixels: Pixels, names: list[str]) -> None:
    for name in names:
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected(pixels)[name], rtol=0, atol=TOLERANCE)


def test_the_server_is_live_and_ready(triton: Report) -> None:
    assert triton.said["described"]["live"] is True
    assert triton.said["described"]["ready"] is True


def test_a_model_is_ready_and_those_that_are_not_there_are_not(triton: Report) -> None:
    described = triton.said["described"]
    assert (described["model ready"], described["other model ready"]) == (True, False)
    assert described["other version ready"] is False


def test_the_server_says_which_it_is_and_what_it_has(triton: Report) -> None:
    server = triton.said["described"]["server"]
    assert server["name"] == "vitrine"
    assert server["version"]
    assert server["extensions"] == ["classification", "model_configuration", "model_repository", "statistics"]


def test_the_metadata_has_what_an_answer_has(triton: Report) -> None:
    metadata = triton.said["described"]["metadata"]
    assert (metadata["name"], metadata["platform"]) == ("tiny", "onnxruntime_onnx")
    assert [len(version) for version in metadata["versions"]] == [12]
    assert metadata["inputs"] == [{"name": "pixels", "datatype": "UINT8", "shape": ["-1", "18", "18"]}]
    assert metadata["outputs"] == [
        {"name": "digit", "datatype": "INT64", "shape": ["-1"]},
        {"name": "softmax", "datatype": "FP32", "shape": ["-1", "10"]},
    ]


def test_the_config_has_batches_and_every_layer(triton: Report) -> None:
    config = triton.said["described"]["config"]["config"]
    assert (config["name"], config["platform"], config["backend"]) == ("tiny", "onnxruntime_onnx", "onnxruntime")
    assert config["max_batch_size"] == 1024
    assert config["input"][0] == {"name": "pixels", "data_type": "TYPE_UINT8", "dims": ["18", "18"]}
    assert all(tensor["optional"] and tensor["data_type"] == "TYPE_FP32" for tensor in config["input"][1:])
    assert config["output"] == [
        {"name": "digit", "data_type": "TYPE_INT64"},
        {"name": "softmax", "data_type": "TYPE_FP32", "dims": ["10"]},
    ]
    (group,) = config["instance_group"]
    assert (group["name"], group["kind"]) == ("CPUExecutionProvider", "KIND_CPU")
    assert config["dynamic_batching"] == {}
    layers = "input:324,linear_1:32,relu_1:32,linear_2:16,relu_2:16,linear_3:10,softmax:10"
    assert config["parameters"] == {"layers": {"string_value": layers}}


def test_the_repository_lists_the_model(triton: Report) -> None:
    (model,) = triton.said["described"]["index"]["models"]
    assert (model["name"], model["state"]) == ("tiny", "READY")
    assert [model["version"]] == triton.said["described"]["metadata"]["versions"]


def test_without_outputs_the_digit_and_the_output_layer_come(triton: Report, pixels: Pixels) -> None:
    assert triton.said["answered"]["plain"]["outputs"] == [["digit", "INT64", [16]], ["softmax", "FP32", [16, 10]]]
    found = triton.of("plain")
    assert_activations(found, pixels, ["softmax"])
    np.testing.assert_array_equal(found["digit"], found["softmax"].argmax(axis=1))


def test_the_wanted_layers_come_in_the_order_in_which_they_are_wanted(triton: Report, pixels: Pixels) -> None:
    outputs = triton.said["answered"]["form pixels"]["outputs"]
    assert outputs == [["softmax", "FP32", [16, 10]], ["relu_2", "FP32", [16, 16]], ["input", "FP32", [16, 324]]]
    assert_activations(triton.of("form pixels"), pixels, ["softmax", "relu_2", "input"])


def test_the_digit_may_come_alone(triton: Report) -> None:
    assert triton.said["answered"]["digit"]["outputs"] == [["digit", "INT64", [16]]]


@pytest.mark.parametrize("form", ["flat", "floats"])
def test_every_form_of_the_pixels_is_the_same(triton: Report, form: str) -> None:
    for name, values in triton.of("form pixels").items():
        np.testing.assert_array_equal(triton.of(f"form {form}")[name], values)


@pytest.mark.parametrize("form", ["files", "files in a column"])
def test_files_are_prepared_by_the_server(triton: Report, form: str) -> None:
    assert_activations(triton.of(f"form {form}"), prepare(EIGHT)[None], ["softmax", "relu_2", "input"])


def test_the_answer_says_who_gave_it_and_to_which_request(triton: Report) -> None:
    answer = triton.said["answered"]["digit"]
    assert (answer["model"], answer["id"]) == ("tiny", "seven")
    assert [answer["version"]] == triton.said["described"]["metadata"]["versions"]
    assert triton.said["answered"]["plain"]["id"] == ""


def test_unknown_parameters_are_ignored_as_triton_does(triton: Report) -> None:
    np.testing.assert_array_equal(triton.of("parameters")["softmax"], triton.of("plain")["softmax"])


def test_compressed_requests_are_answered(triton: Report) -> None:
    np.testing.assert_array_equal(triton.of("compressed")["softmax"], triton.of("plain")["softmax"])


def test_classes_come_as_value_index_label_the_most_probable_first(triton: Report) -> None:
    probabilities = triton.of("plain")["softmax"]
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :3]
    assert triton.said["classes"] == [
        [f"{row[index]:f}:{index}:{index}" for index in indices]
        for row, indices in zip(probabilities, best, strict=True)
    ]


def test_a_call_with_a_callback_is_answered(triton: Report) -> None:
    np.testing.assert_array_equal(triton.of("callback")["softmax"], triton.of("plain")["softmax"])


def test_a_stream_answers_in_order_and_goes_on_after_an_error(triton: Report) -> None:
    first, second, third, fourth = triton.said["stream"]
    assert [answer["id"] for answer in (first, third, fourth)] == ["request 0", "request 2", "request 3"]
    assert second.startswith("Request for unknown model")
    for number in (0, 2, 3):
        np.testing.assert_array_equal(triton.of(f"stream {number}")["softmax"], triton.of("plain")["softmax"])


def test_a_streams_answers_are_final(triton: Report) -> None:
    assert triton.said["stream"][0]["parameters"] == {"triton_final_response": True}
    assert triton.said["answered"]["plain"]["parameters"] == {}


def test_asyncio_gets_the_same(triton: Report, pixels: Pixels) -> None:
    said = triton.said["asyncio"]
    assert (said["live"], said["model ready"]) == (True, True)
    assert said["metadata"] == triton.said["described"]["metadata"]
    assert [answer["id"] for answer in said["answers"]] == [str(number) for number in range(8)]
    for number in range(8):
        assert_activations(triton.of(f"asyncio {number}"), pixels[: number + 1], ["softmax"])


def test_a_stream_in_asyncio_goes_on_after_an_error(triton: Report) -> None:
    first, second, third = triton.said["asyncio"]["stream"]
    assert (first["id"], third["id"]) == ("0", "2")
    assert second.startswith("Request for unknown model")


def test_statistics_count_what_was_done(triton: Report) -> None:
    ((before,), (after,)) = (triton.said[name]["model_stats"] for name in ("before", "after"))

    def grown(*path: str) -> int:
        values = []
        for statistics in (before, after):
            for name in path:
                statistics = statistics.get(name, {} if name != path[-1] else 0)
            values.append(int(statistics))
        return values[1] - values[0]

    images = sum(shape[1][0] for shape in answered_shapes(triton))
    assert grown("inference_count") == images
    assert grown("inference_stats", "success", "count") == len(answered_shapes(triton))
    assert 0 < grown("execution_count") <= len(answered_shapes(triton))
    assert grown("inference_stats", "fail", "count") > 0
    assert after["last_inference"] > before.get("last_inference", "0")
    for stage in ("queue", "compute_input", "compute_infer", "compute_output"):
        assert grown("inference_stats", stage, "count") == len(answered_shapes(triton))
        assert grown("inference_stats", stage, "ns") > 0
    assert "ns" not in after["inference_stats"]["cache_hit"]


def answered_shapes(triton: Report) -> list[tuple[str, list[int]]]:
    """The first output's name and shape of every call that was answered."""
    said = triton.said
    answers = [*said["answered"].values(), said["callback"], *said["stream"]]
    answers += [*said["asyncio"]["answers"], *said["asyncio"]["stream"]]
    shapes = [(answer["outputs"][0][0], answer["outputs"][0][2]) for answer in answers if not isinstance(answer, str)]
    return [*shapes, ("classes", [len(said["classes"])])]


def test_statistics_of_all_models_have_each(triton: Report) -> None:
    assert [entry["name"] for entry in triton.said["all statistics"]["model_stats"]] == ["tiny"]


NOT_FOUND, INVALID = "StatusCode.NOT_FOUND", "StatusCode.INVALID_ARGUMENT"
UNIMPLEMENTED, DENIED = "StatusCode.UNIMPLEMENTED", "StatusCode.PERMISSION_DENIED"
NO_SHARED_MEMORY = "shared memory isn't supported: send tensors in messages"
NOT_ADMIN = (
    "this request needs a token with the permission 'admin', and this server has no tokens: "
    "its operator adds them with --tokens (VITRINE_TOKENS)"
)
FAILURES = {
    "model": [NOT_FOUND, "Request for unknown model: no model is called 'large'; served: tiny"],
    "metadata": [NOT_FOUND, "Request for unknown model: no model is called 'large'; served: tiny"],
    "config": [NOT_FOUND, "Request for unknown model: no model is called 'large'; served: tiny"],
    "statistics": [NOT_FOUND, "Request for unknown model: no model is called 'large'; served: tiny"],
    "output": [
        INVALID,
        "unexpected inference output 'relu_9' for model 'tiny'; it has: "
        "digit, input, linear_1, relu_1, linear_2, relu_2, linear_3, softmax",
    ],
    "datatype": [INVALID, "inference input 'pixels' data-type is 'INT64', but model 'tiny' expects 'UINT8'; "
                          "'FP32' is taken too, and 'BYTES' for image files"],
    "shape": [INVALID, "unexpected shape for input 'pixels' for model 'tiny'. Expected [-1,18,18] or [-1,324], "
                       "got [1,28,28]"],
    "byte count": [INVALID, "input byte size mismatch for input 'pixels' for model 'tiny'. Expected 5508, got 5184"],
    "input": [INVALID, "unexpected inference input 'image' for model 'tiny'; it has: pixels"],
    "batch": [INVALID, "inference request batch-size must be <= 1024 for 'tiny'; got 1025"],
    "file": [INVALID, "element 0 of input 'pixels': the file can't be read as PNG, JPEG, WEBP, GIF, BMP or TIFF: "
                      "it is no image, truncated or damaged"],
    "shared memory": [UNIMPLEMENTED, NO_SHARED_MEMORY],
    "shared memory status": [UNIMPLEMENTED, NO_SHARED_MEMORY],
    "CUDA shared memory": [UNIMPLEMENTED, NO_SHARED_MEMORY],
    "trace": [UNIMPLEMENTED, "traces are set up where the server is started"],
    "log": [UNIMPLEMENTED, "the log is set up where the server is started: see --log-level"],
    "load": [DENIED, NOT_ADMIN],
    "unload": [DENIED, NOT_ADMIN],
}  # fmt: skip


@pytest.mark.parametrize("what", FAILURES)
def test_what_is_wrong_is_said_as_triton_says_it(triton: Report, what: str) -> None:
    assert triton.said["failures"][what] == FAILURES[what]


def test_an_unknown_version_is_not_found_and_the_versions_are_listed(triton: Report) -> None:
    (version,) = triton.said["described"]["metadata"]["versions"]
    text = f"Request for unknown model: 'tiny' has no version '7'; served: {version}"
    assert triton.said["failures"]["version"] == [NOT_FOUND, text]
