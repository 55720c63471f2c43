"""What Triton's and KServe's clients never send: each request is answered, or refused with the field that is wrong."""

import re
import struct
from pathlib import Path

import grpc
import numpy as np
import pytest
from oip.wire import Input, Output, array, blank, classes, floats, pixels_input, png, refused, request, written
from PIL import Image
from support.serving import running_server

from vitrine.oip import inference_pb2 as pb
from vitrine.oip.inference_pb2_grpc import GRPCInferenceServiceStub

DOT = written(Image.new("L", (1, 1)), "GIF")
"""One of the smallest files that there are."""

FIRST = "input 'pixels' for model 'tiny'"
OUT_OF_RANGE = f"{FIRST} has an element that isn't between 0 (white) and 255 (black): pixels are 0 to 255, not 0 to 1"
BY_255 = "pixels are 0 (white) to 255 (black), not 0 to 1: multiply them by 255"
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
    "floats of 0 to 1": (
        floats(0.25, 0.5, 1.0),
        f"{FIRST} has elements from 0 to 1 only: {BY_255}",
        "OUT_OF_RANGE",
        "inputs[0]",
    ),
    "floats of less than 1": (
        floats(*[0.125] * 323, 0.875),
        f"{FIRST} has elements from 0.125 to 0.875 only: {BY_255}",
        "OUT_OF_RANGE",
        "inputs[0]",
    ),
    "typed floats of 0 and 1": (
        request(pixels_input("FP32", fp32_contents=[0.0, 1.0] * 162)),
        f"{FIRST} has elements from 0 to 1 only: {BY_255}",
        "OUT_OF_RANGE",
        "inputs[0]",
    ),
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
    "an id of more than a KiB": (
        blank(id="é" * 513),
        "the id has more than 1,024 bytes",
        "ID_TOO_LONG",
        "id",
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


def test_the_longest_id_comes_back(stub: GRPCInferenceServiceStub) -> None:
    assert stub.ModelInfer(blank(id="é" * 512)).id == "é" * 512


def test_a_parameter_of_tritons_that_changes_nothing_is_taken(stub: GRPCInferenceServiceStub) -> None:
    known = {"triton_enable_empty_final_response": pb.InferParameter(bool_param=True)}
    assert stub.ModelInfer(blank(parameters=known)).model_name == "tiny"


IN_SHARED_MEMORY = {"shared_memory_region": pb.InferParameter(string_param="mine")}


@pytest.mark.parametrize(
    "shared",
    [
        request(Input(name="pixels", datatype="UINT8", shape=(1, 18, 18), parameters=IN_SHARED_MEMORY)),
        blank(outputs=[Output(name="digit"), Output(name="softmax", parameters=IN_SHARED_MEMORY)]),
    ],
    ids=["input", "output"],
)
def test_shared_memory_is_refused(stub: GRPCInferenceServiceStub, shared: pb.ModelInferRequest) -> None:
    code, text, reason, _ = refused(lambda: stub.ModelInfer(shared))
    assert (code, reason) == (grpc.StatusCode.UNIMPLEMENTED, "NO_SHARED_MEMORY")
    assert text == "shared memory isn't supported: send tensors in messages"


def test_an_answer_over_the_limit_is_refused_before_it_is_calculated(tiny_artifact: Path) -> None:
    wanted = [Output(name=name) for name in ("input", "linear_1", "relu_1")]
    many = request(pixels_input(shape=(1024, 324)), bytes(1024 * 324), outputs=wanted)
    with running_server(tiny_artifact, "--max-message-mb", "1") as server, grpc.insecure_channel(server.target) as own:
        code, text, reason, field = refused(lambda: GRPCInferenceServiceStub(own).ModelInfer(many))
    assert (code, reason, field) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE", "outputs")
    assert "at a time" in text


def test_classes_count_for_the_size_of_an_answer(tiny_artifact: Path) -> None:
    """As texts they take four times the bytes of the activations that they are made of."""
    settings = ("--max-message-mb", "1", "--max-images", "8000")

    def classes_of(count: int) -> pb.ModelInferRequest:
        files = struct.pack("<I", len(DOT)) + DOT
        wanted = classes(int64_param=10).outputs
        return request(pixels_input("BYTES", (count,)), count * files, outputs=wanted)

    with running_server(tiny_artifact, *settings) as server, grpc.insecure_channel(server.target) as own:
        stub = GRPCInferenceServiceStub(own)
        code, text, reason, field = refused(lambda: stub.ModelInfer(classes_of(8000)))
        assert (code, reason, field) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE", "outputs")
        (fitting,) = re.findall(r"ask for (\d+) images at a time", text)
        assert list(stub.ModelInfer(classes_of(int(fitting))).outputs[0].shape) == [int(fitting), 10]


def test_fractions_are_rounded_to_the_nearest_and_halves_to_the_even_number(stub: GRPCInferenceServiceStub) -> None:
    seen = array(stub.ModelInfer(floats(0.25, 0.5, 0.75, 1.5, 2.5, 254.5, 254.75, 255.0)), "input")
    np.testing.assert_array_equal(np.rint(seen[0, :8] * 255), [0, 0, 1, 2, 2, 254, 255, 255])


def test_floats_of_an_empty_page_and_of_hardly_any_ink_are_taken(stub: GRPCInferenceServiceStub) -> None:
    assert not array(stub.ModelInfer(floats(0.0)), "input").any()
    assert array(stub.ModelInfer(floats(1.25)), "input").any()
    assert array(
        stub.ModelInfer(request(pixels_input(), bytes([1] * 324), outputs=[Output(name="input")])), "input"
    ).all()


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
