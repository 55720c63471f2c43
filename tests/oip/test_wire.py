"""What Triton's and KServe's clients never send, or never show: the open protocol over a plain channel."""

import io
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from PIL import Image
from publishing import bad_files, publish
from server.test_access import bearer, line, secret
from serving import PATIENCE_SECONDS, running_server

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Contents = pb.InferTensorContents


def request(tensor: pb.ModelInferRequest.InferInputTensor, *raw: bytes, **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=raw, **fields)


def pixels_input(datatype: str = "UINT8", shape: Any = (1, 18, 18), **contents: Any) -> Input:
    return Input(name="pixels", datatype=datatype, shape=shape, contents=Contents(**contents) if contents else None)


def blank(**fields: Any) -> pb.ModelInferRequest:
    return request(pixels_input(), bytes(324), **fields)


def floats(*values: float) -> pb.ModelInferRequest:
    filled = np.zeros(324, "<f4")
    filled[: len(values)] = values
    return request(pixels_input("FP32"), filled.tobytes(), outputs=[Output(name="input")])


def png() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((20, 20), 50).save(file, "PNG")
    return file.getvalue()


def classes(output: str = "softmax", **value: Any) -> pb.ModelInferRequest:
    return blank(outputs=[Output(name=output, parameters={"classification": pb.InferParameter(**value)})])


def at_last(look: Callable[[], Any], expected: object) -> Any:
    """What is seen once it is as expected, or patience is over: a call counts when its answer has left."""
    until = time.monotonic() + PATIENCE_SECONDS
    while (seen := look()) != expected and time.monotonic() < until:
        pass
    return seen


def array(response: pb.ModelInferResponse, name: str) -> npt.NDArray[Any]:
    index = [output.name for output in response.outputs].index(name)
    kinds = {"INT64": "<i8", "FP32": "<f4"}
    kind = kinds[response.outputs[index].datatype]
    return np.frombuffer(response.raw_output_contents[index], kind).reshape(response.outputs[index].shape)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str, str]:
    """A refusal: its code, its text, its reason, and the path of the field at fault."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad)
    fields = ", ".join(violation.field for violation in bad.field_violations)
    return error.code(), error.details() or "", info.reason, fields


FIRST = "input 'pixels' for model 'tiny'"
OUT_OF_RANGE = f"{FIRST} has an element that isn't between 0 (white) and 255 (black)"
BAD: dict[str, tuple[pb.ModelInferRequest, str, str, str]] = {
    "raw and typed": (
        request(pixels_input(uint_contents=[0] * 324), bytes(324)),
        "contents field must not be specified when using raw_input_contents for 'pixels' for model 'tiny'",
        "RAW_AND_TYPED",
        "inputs[0].contents",
    ),
    "neither raw nor typed": (
        request(pixels_input()),
        "unable to find data for input tensor 'pixels' for model 'tiny' in request",
        "NO_CONTENTS",
        "inputs[0]",
    ),
    "raw twice": (
        request(pixels_input(), bytes(324), bytes(324)),
        "expected 1 raw_input_contents but got 2 for model 'tiny': one for each input",
        "WRONG_RAW_COUNT",
        "raw_input_contents",
    ),
    "typed as another datatype": (
        request(pixels_input(int_contents=[0] * 324)),
        "unexpected explicit tensor data for input tensor 'pixels' for model 'tiny': "
        "UINT8 belongs into uint_contents, and int_contents has elements",
        "WRONG_CONTENTS",
        "inputs[0].contents.int_contents",
    ),
    "too few typed elements": (
        request(pixels_input(uint_contents=[0] * 323)),
        "input byte size mismatch for input 'pixels' for model 'tiny'. Expected 324, got 323",
        "WRONG_BYTE_COUNT",
        "inputs[0]",
    ),
    "too few floats": (
        request(pixels_input("FP32"), bytes(324)),
        "input byte size mismatch for input 'pixels' for model 'tiny'. Expected 1296, got 324",
        "WRONG_BYTE_COUNT",
        "raw_input_contents[0]",
    ),
    "a typed element above 255": (
        request(pixels_input(uint_contents=[256] + [0] * 323)),
        OUT_OF_RANGE,
        "OUT_OF_RANGE",
        "inputs[0]",
    ),
    "a float above 255": (floats(255.25), OUT_OF_RANGE, "OUT_OF_RANGE", "inputs[0]"),
    "a float below 0": (floats(-0.25), OUT_OF_RANGE, "OUT_OF_RANGE", "inputs[0]"),
    "not a number": (floats(float("nan")), OUT_OF_RANGE, "OUT_OF_RANGE", "inputs[0]"),
    "an infinite float": (floats(float("inf")), OUT_OF_RANGE, "OUT_OF_RANGE", "inputs[0]"),
    "no shape": (
        request(pixels_input(shape=()), bytes(324)),
        "unexpected shape for input 'pixels' for model 'tiny'. Expected [-1,18,18] or [-1,324], got []",
        "WRONG_SHAPE",
        "inputs[0].shape",
    ),
    "a negative extent": (
        request(pixels_input(shape=(-1, 18, 18)), bytes(324)),
        "unexpected shape for input 'pixels' for model 'tiny'. Expected [-1,18,18] or [-1,324], got [-1,18,18]",
        "WRONG_SHAPE",
        "inputs[0].shape",
    ),
    "a very long shape": (
        request(pixels_input(shape=[1] * 9), bytes(324)),
        "unexpected shape for input 'pixels' for model 'tiny'. "
        "Expected [-1,18,18] or [-1,324], got [1,1,1,1,1,1,1,1,…]",
        "WRONG_SHAPE",
        "inputs[0].shape",
    ),
    "files in a square": (
        request(pixels_input("BYTES", (2, 2)), bytes(16)),
        "unexpected shape for input 'pixels' for model 'tiny'. Expected [-1] or [-1,1], got [2,2]",
        "WRONG_SHAPE",
        "inputs[0].shape",
    ),
    "an absurd extent": (
        request(pixels_input(shape=(2**62, 18, 18)), bytes(324)),
        f"inference request batch-size must be <= 1024 for 'tiny'; got {2**62}",
        "TOO_MANY_IMAGES",
        "inputs[0].shape",
    ),
    "no images": (
        request(pixels_input(shape=(0, 18, 18)), b""),
        "the request has no images: send at least one",
        "NO_IMAGES",
        "inputs[0]",
    ),
    "no inputs": (
        pb.ModelInferRequest(model_name="tiny"),
        "expected 1 inputs but got 0 inputs for model 'tiny'",
        "WRONG_INPUT_COUNT",
        "inputs",
    ),
    "the input twice": (
        pb.ModelInferRequest(model_name="tiny", inputs=[pixels_input(), pixels_input()]),
        "expected 1 inputs but got 2 inputs for model 'tiny'",
        "WRONG_INPUT_COUNT",
        "inputs",
    ),
    "a length that is cut off": (
        request(pixels_input("BYTES", (1,)), b"\x01\x00"),
        f"incomplete string data for inference {FIRST}: element 0 ends at byte 4, and 2 came",
        "WRONG_BYTE_COUNT",
        "raw_input_contents[0]",
    ),
    "a file that is cut off": (
        request(pixels_input("BYTES", (1,)), struct.pack("<I", 2**32 - 1) + b"P"),
        f"incomplete string data for inference {FIRST}: element 0 ends at byte {2**32 + 3}, and 5 came",
        "WRONG_BYTE_COUNT",
        "raw_input_contents[0]",
    ),
    "fewer files than the shape says": (
        request(pixels_input("BYTES", (2,)), struct.pack("<I", 1) + b"P"),
        f"expected 2 strings for inference {FIRST}, got 1",
        "WRONG_ELEMENT_COUNT",
        "inputs[0]",
    ),
    "more files than the shape says": (
        request(pixels_input("BYTES", (1,)), bytes(1 << 20)),
        f"expected 1 strings for inference {FIRST}, got more than 1",
        "WRONG_ELEMENT_COUNT",
        "inputs[0]",
    ),
    "fewer typed files than the shape says": (
        request(pixels_input("BYTES", (2,), bytes_contents=[b"P"])),
        f"expected 2 strings for inference {FIRST}, got 1",
        "WRONG_ELEMENT_COUNT",
        "inputs[0]",
    ),
    "a bad file among good ones": (
        request(pixels_input("BYTES", (2,), bytes_contents=[png(), b"P"])),
        "element 1 of input 'pixels': the file can't be read as PNG, JPEG, WEBP, GIF, BMP or TIFF: "
        "it is no image, truncated or damaged",
        "IMAGE_UNREADABLE",
        "inputs[0]",
    ),
    "one of Triton's own parameters": (
        blank(parameters={"triton_mine": pb.InferParameter(bool_param=True)}),
        "parameter keys starting with 'triton_' are reserved, and 'triton_mine' is none that is known",
        "UNKNOWN_PARAMETER",
        "parameters",
    ),
    "classes as a text": (
        classes(string_param="3"),
        "invalid value type for 'classification' parameter, expected int64_param",
        "WRONG_PARAMETER",
        "outputs[0].parameters",
    ),
    "no classes": (
        classes(int64_param=0),
        "invalid value for 'classification' parameter, expected >= 1, got 0",
        "WRONG_PARAMETER",
        "outputs[0].parameters",
    ),
    "classes of a hidden layer": (
        classes("relu_1", int64_param=3),
        "'classification' is for the output layer, 'softmax': 'relu_1' has no classes",
        "WRONG_PARAMETER",
        "outputs[0].parameters",
    ),
}


@pytest.mark.parametrize(("bad", "text", "reason", "field"), BAD.values(), ids=BAD.keys())
def test_bad_requests_are_refused(
    stub: GRPCInferenceServiceStub, bad: pb.ModelInferRequest, text: str, reason: str, field: str
) -> None:
    assert refused(lambda: stub.ModelInfer(bad)) == (grpc.StatusCode.INVALID_ARGUMENT, text, reason, field)
    assert stub.ModelInfer(blank()).model_name == "tiny"


@pytest.mark.parametrize(
    "of_many",
    [
        pb.ModelInferRequest(inputs=[Input()] * 40_000),
        pb.ModelInferRequest(outputs=[Output()] * 40_000),
        pb.ModelInferRequest(raw_input_contents=[b""] * 40_000),
        pb.ModelInferRequest(inputs=[pixels_input("BYTES", (1,), bytes_contents=[b""] * 40_000)]),
        pb.ModelInferRequest(inputs=[pixels_input(uint_contents=[0] * 4_000_000)]),
    ],
    ids=["inputs", "outputs", "raw contents", "files", "numbers"],
)
def test_fields_without_end_are_refused_before_they_are_parsed(
    stub: GRPCInferenceServiceStub, of_many: pb.ModelInferRequest
) -> None:
    code, text, reason, _ = refused(lambda: stub.ModelInfer(of_many))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_FIELDS")
    assert text == "the request has more than 22,592 fields: split it"


def test_the_largest_good_requests_have_not_too_many_fields(stub: GRPCInferenceServiceStub) -> None:
    shape, wanted = (1024, 18, 18), [Output(name="digit")] * 100
    for typed in (
        pixels_input(shape=shape, uint_contents=[255] * 1024 * 324),
        pixels_input("FP32", shape, fp32_contents=[255.0] * 1024 * 324),
        pixels_input("BYTES", (1024,), bytes_contents=[png()] * 1024),
    ):
        assert array(stub.ModelInfer(request(typed, outputs=wanted)), "digit").shape == (1024,)


def test_shared_memory_is_refused(stub: GRPCInferenceServiceStub) -> None:
    tensor = pixels_input()
    tensor.parameters["shared_memory_region"].string_param = "mine"
    code, text, reason, _ = refused(lambda: stub.ModelInfer(request(tensor)))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_SHARED_MEMORY")
    assert text == "shared memory isn't supported: send tensors in messages"


def test_an_answer_over_the_limit_is_refused_before_it_is_calculated(tiny_artifact: Path) -> None:
    wanted = [Output(name=name) for name in ("input", "linear_1", "relu_1")]
    many = request(pixels_input(shape=(1024, 324)), bytes(1024 * 324), outputs=wanted)
    with running_server(tiny_artifact, "--max-message-mb", "1") as server, grpc.insecure_channel(server.target) as own:
        code, text, reason, field = refused(lambda: GRPCInferenceServiceStub(own).ModelInfer(many))
    assert (code, reason, field) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE", "outputs")
    assert "at a time" in text


def test_fractions_are_rounded_to_the_nearest_and_halves_to_the_even_number(stub: GRPCInferenceServiceStub) -> None:
    seen = array(stub.ModelInfer(floats(0.25, 0.5, 0.75, 1.5, 2.5, 254.5, 254.75, 255.0)), "input")
    np.testing.assert_array_equal(np.rint(seen[0, :8] * 255), [0, 0, 1, 2, 2, 254, 255, 255])


def test_an_output_that_is_wanted_twice_comes_once(stub: GRPCInferenceServiceStub) -> None:
    answer = stub.ModelInfer(blank(outputs=[Output(name=name) for name in ("relu_1", "digit", "relu_1")]))
    assert [output.name for output in answer.outputs] == ["relu_1", "digit"]
    assert len(answer.raw_output_contents) == 2


def test_more_classes_than_there_are_is_all_of_them(stub: GRPCInferenceServiceStub) -> None:
    (output,) = stub.ModelInfer(classes(int64_param=1000)).outputs
    assert (output.datatype, list(output.shape)) == ("BYTES", [1, 10])


def test_no_name_is_the_default_models(stub: GRPCInferenceServiceStub) -> None:
    unnamed = blank()
    unnamed.model_name = ""
    assert stub.ModelInfer(unnamed).model_name == "tiny"
    assert stub.ModelReady(pb.ModelReadyRequest()).ready


def test_a_message_of_a_stream_that_is_none_ends_the_stream(channel: grpc.Channel) -> None:
    path = "/inference.GRPCInferenceService/ModelStreamInfer"
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
    with pytest.raises(grpc.RpcError) as caught:
        list(call(iter([b"\xff\xff\xff"])))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_error_of_a_stream_says_whose_it_is(stub: GRPCInferenceServiceStub) -> None:
    bad, good = blank(id="bad"), blank(id="good")
    bad.model_version = "7"
    first, second = stub.ModelStreamInfer(iter([bad, good]))
    assert first.error_message.startswith("Request for unknown model: 'tiny' has no version '7'")
    assert first.infer_response == pb.ModelInferResponse(id="bad")
    assert (second.error_message, second.infer_response.id) == ("", "good")


def test_health_and_reflection_know_the_service(channel: grpc.Channel) -> None:
    health: Any = health_pb2_grpc.HealthStub(channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert "inference.GRPCInferenceService" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_a_leaving_server_is_live_and_answers_and_is_not_ready(tiny_artifact: Path) -> None:
    with (
        running_server(tiny_artifact, "--propagation-seconds", "600", "--drain-seconds", "0") as server,
        grpc.insecure_channel(server.target) as own,
    ):
        stub = GRPCInferenceServiceStub(own)
        health: Any = health_pb2_grpc.HealthStub(own)
        states = health.Watch(health_pb2.HealthCheckRequest())
        assert next(states).status == health_pb2.HealthCheckResponse.SERVING
        assert stub.ServerReady(pb.ServerReadyRequest()).ready
        server.process.terminate()
        assert next(states).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert not stub.ServerReady(pb.ServerReadyRequest()).ready
        assert not stub.ModelReady(pb.ModelReadyRequest(name="tiny")).ready
        assert stub.ServerLive(pb.ServerLiveRequest()).live
        assert stub.ModelInfer(blank()).model_name == "tiny"
        server.process.terminate()  # the second signal ends it at once


# Who may do what.


@pytest.fixture(scope="module")
def guarded(tiny_artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GRPCInferenceServiceStub]:
    """A server that knows callers with some permissions."""
    tokens = tmp_path_factory.mktemp("oip") / "tokens"
    tokens.write_text(line("predict", "predict") + line("both", "predict,activations") + line("admin", "admin"))
    with running_server(tiny_artifact, "--tokens", tokens) as server, grpc.insecure_channel(server.target) as own:
        yield GRPCInferenceServiceStub(own)


HIDDEN = {"outputs": [Output(name="digit"), Output(name="relu_1")]}
OPEN_TO: dict[str, tuple[Callable[[GRPCInferenceServiceStub, Any], object], set[str]]] = {
    "the digit and the output layer": (
        lambda stub, who: stub.ModelInfer(blank(outputs=[Output(name="softmax")]), metadata=who),
        {"predict", "both"},
    ),
    "a hidden layer": (lambda stub, who: stub.ModelInfer(blank(**HIDDEN), metadata=who), {"both"}),
    "metadata": (
        lambda stub, who: stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny"), metadata=who),
        {"predict", "both"},
    ),
    "readiness": (lambda stub, who: stub.ServerReady(pb.ServerReadyRequest(), metadata=who), {"predict", "both"}),
}


@pytest.mark.parametrize("caller", ["predict", "both", "admin"])
@pytest.mark.parametrize("what", OPEN_TO)
def test_a_token_allows_what_its_permissions_say(guarded: GRPCInferenceServiceStub, what: str, caller: str) -> None:
    call, allowed = OPEN_TO[what]
    if caller in allowed:
        call(guarded, bearer(secret(caller)))
    else:
        assert refused(lambda: call(guarded, bearer(secret(caller))))[0] is grpc.StatusCode.PERMISSION_DENIED


def test_a_hidden_layer_in_a_stream_takes_its_permission_too(guarded: GRPCInferenceServiceStub) -> None:
    hidden, plain = guarded.ModelStreamInfer(iter([blank(**HIDDEN), blank()]), metadata=bearer(secret("predict")))
    assert "lacks the permission 'activations'" in hidden.error_message
    assert plain.infer_response.model_name == "tiny"


def test_without_a_token_nothing_is_answered(guarded: GRPCInferenceServiceStub) -> None:
    code, _, reason, _ = refused(lambda: guarded.ServerLive(pb.ServerLiveRequest()))
    assert (code, reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")


@pytest.mark.parametrize("caller", ["predict", "both"])
def test_only_who_may_administer_loads_and_unloads(guarded: GRPCInferenceServiceStub, caller: str) -> None:
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    unload = pb.RepositoryModelUnloadRequest()
    who = bearer(secret(caller))
    for call in (
        lambda: guarded.RepositoryModelLoad(load, metadata=who),
        lambda: guarded.RepositoryModelUnload(unload, metadata=who),
    ):
        assert refused(call)[0] is grpc.StatusCode.PERMISSION_DENIED


def test_a_server_of_one_file_loads_and_unloads_nothing(guarded: GRPCInferenceServiceStub) -> None:
    who = bearer(secret("admin"))
    load = pb.RepositoryModelLoadRequest(model_name="tiny")
    code, text, reason, _ = refused(lambda: guarded.RepositoryModelLoad(load, metadata=who))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_REPOSITORY")
    assert text.startswith("explicit model load is not allowed")
    unload = pb.RepositoryModelUnloadRequest()
    code, text, reason, _ = refused(lambda: guarded.RepositoryModelUnload(unload, metadata=who))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_UNLOADING")
    assert "move the model's folder" in text


# A repository.


class Repository:
    """A repository that is looked at only when that is asked for, and the stub of the server that serves it."""

    def __init__(self, root: Path, stub: GRPCInferenceServiceStub) -> None:
        self.root = root
        self._stub = stub
        self._who: Any = bearer(secret("all"))

    def call(self, method: str, message: Any) -> Any:
        return getattr(self._stub, method)(message, metadata=self._who)

    def load(self, name: str, **fields: Any) -> Any:
        return self.call("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name=name, **fields))

    def index(self, *, ready: bool = False) -> list[tuple[str, str, str, str]]:
        models = self.call("RepositoryIndex", pb.RepositoryIndexRequest(ready=ready)).models
        return [(model.name, model.version, model.state, model.reason) for model in models]


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    """A repository of `digits@1`."""
    root, tokens = tmp_path / "models", tmp_path / "tokens"
    publish(root, "digits", 1)
    tokens.write_text(line("all", "predict,admin"))
    arguments = ("--model-repository", root, "--reload-seconds", "0", "--versions", "latest:2", "--tokens", tokens)
    with running_server(*arguments) as server, grpc.insecure_channel(server.target) as own:
        yield Repository(root, GRPCInferenceServiceStub(own))


def test_loading_serves_what_was_published(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    publish(repository.root, "large", 7)
    assert repository.index() == [("digits", "1", "READY", "")]
    repository.load("digits")
    expected = [("digits", "2", "READY", ""), ("digits", "1", "READY", ""), ("large", "7", "READY", "")]
    assert repository.index() == expected
    metadata = repository.call("ModelMetadata", pb.ModelMetadataRequest(name="digits"))
    assert list(metadata.versions) == ["2", "1"]
    metadata = repository.call("ModelMetadata", pb.ModelMetadataRequest(name="digits", version="1"))
    assert list(metadata.versions) == ["1"]


def test_a_named_version_answers(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    repository.load("digits")
    for version, answered in (("", "2"), ("1", "1"), ("2", "2")):
        message = blank(model_version=version)
        message.model_name = "digits"
        assert repository.call("ModelInfer", message).model_version == answered
        ready = repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version=version))
        assert ready.ready
    assert not repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version="3")).ready


def test_loading_a_version_that_fails_says_why_and_the_one_before_answers_on(repository: Repository) -> None:
    publish(repository.root, "digits", 2, bad_files()["corrupt"])
    code, text, reason, field = refused(lambda: repository.load("digits"))
    assert (code, reason, field) == (grpc.StatusCode.INVALID_ARGUMENT, "LOAD_FAILED", "model_name")
    assert text.startswith("load failed for model 'digits': version 2: ")
    failed, served = repository.index()
    assert (failed[1:3], served) == (("2", "UNAVAILABLE"), ("digits", "1", "READY", ""))
    assert failed[3] in text
    assert repository.index(ready=True) == [("digits", "1", "READY", "")]
    assert not repository.call("ModelReady", pb.ModelReadyRequest(name="digits", version="2")).ready


def test_loading_what_does_not_lie_there_is_refused(repository: Repository) -> None:
    code, text, reason, field = refused(lambda: repository.load("large"))
    assert (code, reason, field) == (grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN", "model_name")
    where = "where it would be NAME/VERSION/model.onnx"
    assert text == f"Request for unknown model: 'large' isn't in the model repository, {where}"


def test_loading_with_other_settings_or_from_elsewhere_is_refused(repository: Repository) -> None:
    override = {"config": pb.ModelRepositoryParameter(string_param="{}")}
    assert refused(lambda: repository.load("digits", parameters=override))[2] == "NO_OVERRIDES"
    assert refused(lambda: repository.load("digits", repository_name="other"))[2] == "NO_REPOSITORY_NAMES"
    elsewhere = pb.RepositoryIndexRequest(repository_name="other")
    assert refused(lambda: repository.call("RepositoryIndex", elsewhere))[2] == "NO_REPOSITORY_NAMES"


def test_statistics_are_each_versions_own(repository: Repository) -> None:
    publish(repository.root, "digits", 2)
    repository.load("digits")
    message = blank(model_version="1")
    message.model_name = "digits"
    repository.call("ModelInfer", message)

    def counts(**fields: str) -> dict[str, int]:
        statistics = repository.call("ModelStatistics", pb.ModelStatisticsRequest(**fields)).model_stats
        return {f"{model.name}@{model.version}": model.inference_count for model in statistics}

    assert at_last(counts, {"digits@2": 0, "digits@1": 1}) == {"digits@2": 0, "digits@1": 1}
    assert counts(name="digits") == {"digits@2": 0, "digits@1": 1}
    assert counts(name="digits", version="1") == {"digits@1": 1}


@pytest.fixture(scope="module")
def quiet(tiny_artifact: Path) -> Iterator[GRPCInferenceServiceStub]:
    """A server that nobody else calls, so that what it has counted is known."""
    with running_server(tiny_artifact) as server, grpc.insecure_channel(server.target) as own:
        yield GRPCInferenceServiceStub(own)


def test_images_that_share_a_run_are_one_execution(quiet: GRPCInferenceServiceStub) -> None:
    asked = pb.ModelStatisticsRequest(name="tiny")

    def counts() -> tuple[int, int]:
        (model,) = quiet.ModelStatistics(asked).model_stats
        return model.inference_count, model.execution_count

    images, runs = counts()
    quiet.ModelInfer(request(pixels_input(shape=(100, 18, 18)), bytes(100 * 324)))
    assert at_last(counts, (images + 100, runs + 1)) == (images + 100, runs + 1)


def test_a_request_that_fails_in_a_stream_counts_as_failed(quiet: GRPCInferenceServiceStub) -> None:
    asked = pb.ModelStatisticsRequest(name="tiny")

    def failures() -> int:
        return quiet.ModelStatistics(asked).model_stats[0].inference_stats.fail.count

    before = failures()
    (answer,) = quiet.ModelStreamInfer(iter([request(pixels_input("BYTES", (1,), bytes_contents=[b"P"]))]))
    assert answer.error_message
    assert at_last(failures, before + 1) == before + 1
