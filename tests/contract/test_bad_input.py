"""Every bad input that a client can send, and its refusal: status, path of the field, and sentence."""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image
from support.artifacts import export_random
from support.serving import running_server

from vitrine.v1 import classifier_pb2 as pb
from vitrine.v1.classifier_pb2_grpc import ClassifierServiceStub

LAYERS = "input, linear_1, relu_1, linear_2, relu_2, linear_3, softmax"


@dataclass(frozen=True)
class Refusal:
    """An error as its caller sees it."""

    code: grpc.StatusCode
    message: str
    reason: str
    field: str


def refusal(error: grpc.RpcError) -> Refusal:
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(request)
    assert info.domain == "vitrine"
    fields = [violation.field for violation in request.field_violations]
    return Refusal(error.code(), error.details() or "", info.reason, ", ".join(fields))


def refused(stub: ClassifierServiceStub, request: pb.ClassifyRequest) -> Refusal:
    """The refusal of a request; the server still answers a valid one after it."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(request)
    assert len(stub.Classify(pb.ClassifyRequest(pixels=blank(1))).digits) == 1
    found = refusal(caught.value)
    assert "Traceback" not in found.message
    assert ".py" not in found.message
    return found


def blank(count: int) -> pb.Tensor:
    return pb.Tensor(shape=[count, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(count * 324))


def png(size: tuple[int, int] = (20, 20)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 50).save(file, "PNG")
    return file.getvalue()


def png_that_declares(width: int, height: int) -> bytes:
    """A PNG of a few bytes whose header declares any size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(bytes(1000))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, rows, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PIXELS = {
    "a dtype that isn't UINT8": (
        pb.Tensor(shape=[1, 18, 18], dtype=pb.DATA_TYPE_FLOAT32, data=bytes(324 * 4)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "pixels are DATA_TYPE_UINT8, not DATA_TYPE_FLOAT32",
            "WRONG_DTYPE",
            "pixels.dtype",
        ),
    ),
    "no dtype": (
        pb.Tensor(shape=[1, 18, 18], data=bytes(324)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "pixels are DATA_TYPE_UINT8, not DATA_TYPE_UNSPECIFIED",
            "WRONG_DTYPE",
            "pixels.dtype",
        ),
    ),
    "a dtype from a later version": (
        pb.Tensor(shape=[1, 18, 18], dtype=77, data=bytes(324)),  # type: ignore[arg-type]
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "pixels are DATA_TYPE_UINT8, not the unknown type 77",
            "WRONG_DTYPE",
            "pixels.dtype",
        ),
    ),
    "28 × 28": (
        pb.Tensor(shape=[1, 28, 28], dtype=pb.DATA_TYPE_UINT8, data=bytes(784)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "pixels are [N, 18, 18], not [1, 28, 28]", "WRONG_SHAPE", "pixels.shape"
        ),
    ),
    "two axes": (
        pb.Tensor(shape=[18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "pixels are [N, 18, 18], not [18, 18]", "WRONG_SHAPE", "pixels.shape"
        ),
    ),
    "a negative extent": (
        pb.Tensor(shape=[-1, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT, "pixels are [N, 18, 18], not [-1, 18, 18]", "WRONG_SHAPE", "pixels.shape"
        ),
    ),
    "an extent that overflows": (
        pb.Tensor(shape=[2**62, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(324)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            f"pixels of shape [{2**62}, 18, 18] are {2**62 * 324} bytes; 324 came",
            "WRONG_BYTE_COUNT",
            "pixels.data",
        ),
    ),
    "a byte too few": (
        pb.Tensor(shape=[2, 18, 18], dtype=pb.DATA_TYPE_UINT8, data=bytes(647)),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "pixels of shape [2, 18, 18] are 648 bytes; 647 came",
            "WRONG_BYTE_COUNT",
            "pixels.data",
        ),
    ),
    "no images": (
        blank(0),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request has no images: send at least one",
            "NO_IMAGES",
            "pixels",
        ),
    ),
    "too many images": (
        blank(1025),
        Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "the request has 1025 images, and at most 1024 are taken: split it",
            "TOO_MANY_IMAGES",
            "pixels",
        ),
    ),
}


@pytest.mark.parametrize(("tensor", "expected"), PIXELS.values(), ids=PIXELS.keys())
def test_bad_pixels_are_refused(stub: ClassifierServiceStub, tensor: pb.Tensor, expected: Refusal) -> None:
    assert refused(stub, pb.ClassifyRequest(pixels=tensor)) == expected


NOT_READABLE = "the file can't be read as PNG, JPEG, WEBP, GIF, BMP or TIFF: it is no image, truncated or damaged"

FILES = {
    "a text": (b"hello", "IMAGE_UNREADABLE", NOT_READABLE),
    "nothing": (b"", "IMAGE_UNREADABLE", "the file is empty: it has no bytes"),
    "a truncated image": (png()[:200], "IMAGE_UNREADABLE", NOT_READABLE),
    "a header without an image": (png()[:40], "IMAGE_UNREADABLE", NOT_READABLE),
    "a format that runs programs": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "IMAGE_UNSUPPORTED",
        "the file is EPS or PostScript, which isn't read: save it as JPEG or PNG",
    ),
    "an image bomb": (
        png_that_declares(10_000, 10_000),
        "IMAGE_TOO_LARGE",
        "the file is 10000 × 10000; at most 52,000,000 pixels are decoded: scale it down",
    ),
    "an image bomb beyond Pillow's own limit": (
        png_that_declares(2**31 - 1, 2**31 - 1),
        "IMAGE_TOO_LARGE",
        "the file declares more pixels than any image has: scale it down",
    ),
}


@pytest.mark.parametrize(("file", "reason", "message"), FILES.values(), ids=FILES.keys())
def test_bad_files_are_refused(stub: ClassifierServiceStub, file: bytes, reason: str, message: str) -> None:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[png(), file]))
    expected = Refusal(grpc.StatusCode.INVALID_ARGUMENT, message, reason, "encoded.files[1]")
    assert refused(stub, request) == expected


def test_a_request_without_images_is_refused(stub: ClassifierServiceStub) -> None:
    for request in (pb.ClassifyRequest(), pb.ClassifyRequest(encoded=pb.EncodedImages())):
        found = refused(stub, request)
        assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NO_IMAGES")
        assert found.field == "encoded.files"


def test_too_many_files_are_refused(stub: ClassifierServiceStub) -> None:
    found = refused(stub, pb.ClassifyRequest(encoded=pb.EncodedImages(files=[b""] * 1025)))
    assert (found.reason, found.field) == ("TOO_MANY_IMAGES", "encoded.files")


def test_an_unknown_layer_is_refused_and_the_layers_are_listed(stub: ClassifierServiceStub) -> None:
    selection = pb.LayerSelection(names=["relu_1", "relu_9"])
    assert refused(stub, pb.ClassifyRequest(pixels=blank(1), activations=selection)) == Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        f"no layer is called 'relu_9'; the layers of tiny: {LAYERS}",
        "LAYER_UNKNOWN",
        "activations.names[1]",
    )


def test_all_layers_and_some_by_name_contradict_each_other(stub: ClassifierServiceStub) -> None:
    selection = pb.LayerSelection(all=True, names=["relu_1"])
    found = refused(stub, pb.ClassifyRequest(pixels=blank(1), activations=selection))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "CONTRADICTION")
    assert (found.message, found.field) == ("ask for all layers or for some by name, not both", "activations")


def test_an_unknown_model_is_not_found(stub: ClassifierServiceStub) -> None:
    expected = Refusal(grpc.StatusCode.NOT_FOUND, "no model is called 'large'; served: tiny", "MODEL_UNKNOWN", "model")
    assert refused(stub, pb.ClassifyRequest(pixels=blank(1), model="large")) == expected
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModel(pb.GetModelRequest(model="large"))
    assert refusal(caught.value) == expected
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetParameters(pb.GetParametersRequest(model="large", layer="linear_1"))
    assert refusal(caught.value) == expected


def test_parameters_of_a_layer_that_stores_none_are_refused(stub: ClassifierServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetParameters(pb.GetParametersRequest(layer="relu_1"))
    assert refusal(caught.value) == Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "layer 'relu_1' stores no parameters, it only calculates; those that do: linear_1, linear_2, linear_3",
        "LAYER_STORES_NOTHING",
        "layer",
    )


def test_parameters_of_an_unknown_layer_are_refused(stub: ClassifierServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetParameters(pb.GetParametersRequest(layer="linear_7"))
    found = refusal(caught.value)
    assert (found.reason, found.field) == ("LAYER_UNKNOWN", "layer")
    assert found.message == "no layer is called 'linear_7'; those with parameters: linear_1, linear_2, linear_3"


def test_bytes_that_are_no_message_are_refused(channel: grpc.Channel) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/vitrine.v1.ClassifierService/Classify")
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xff\xff")
    found = refusal(caught.value)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "NOT_A_MESSAGE")
    assert found.message == "the request's bytes are no vitrine.v1.ClassifyRequest"


def test_a_request_over_the_size_limit_is_refused(stub: ClassifierServiceStub) -> None:
    request = pb.ClassifyRequest(encoded=pb.EncodedImages(files=[bytes(65 << 20)]))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in (caught.value.details() or "")
    assert len(stub.Classify(pb.ClassifyRequest(pixels=blank(1))).digits) == 1


def test_an_answer_over_the_size_limit_is_refused_before_it_is_calculated(tiny_artifact: Path) -> None:
    everything = pb.LayerSelection(all=True)
    each = (324 + 2 * 32 + 2 * 16 + 3 * 10) * 4 + 10  # the output layer is among the probabilities too; a digit
    with (
        running_server(tiny_artifact, "--max-message-mb", "1") as small,
        grpc.insecure_channel(small.target) as channel,
    ):
        stub = ClassifierServiceStub(channel)
        found = refused(stub, pb.ClassifyRequest(pixels=blank(1000), activations=everything))
        assert len(stub.Classify(pb.ClassifyRequest(pixels=blank(576), activations=everything)).digits) == 576
    assert found == Refusal(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"the answer would be {4096 + 7 * 128 + 1000 * each:,} bytes, and {1 << 20:,} are sent at most: "
        "ask for 576 images at a time, or for fewer layers",
        "ANSWER_TOO_LARGE",
        "activations",
    )


def test_parameters_over_the_size_limit_are_refused(tmp_path: Path) -> None:
    wide = export_random(tmp_path / "wide.onnx", [1000])
    with running_server(wide, "--max-message-mb", "1") as small, grpc.insecure_channel(small.target) as channel:
        stub = ClassifierServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetParameters(pb.GetParametersRequest(layer="linear_1"))
    found = refusal(caught.value)
    assert (found.code, found.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")


def test_a_long_name_is_not_said_back_in_full(stub: ClassifierServiceStub) -> None:
    """A status travels in headers: a longer one would reach the caller as another error."""
    found = refused(stub, pb.ClassifyRequest(pixels=blank(1), model="m" * 100_000))
    assert (found.code, found.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_UNKNOWN")
    found = refused(stub, pb.ClassifyRequest(pixels=blank(1), activations=pb.LayerSelection(names=["x" * 100_000])))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LAYER_UNKNOWN")
    assert len(found.message) < 300


def test_names_without_end_are_refused(stub: ClassifierServiceStub) -> None:
    found = refused(stub, pb.ClassifyRequest(pixels=blank(1), activations=pb.LayerSelection(names=["input"] * 1025)))
    assert (found.reason, found.field) == ("TOO_MANY_NAMES", "activations.names")


def test_a_bad_request_ends_a_stream_after_the_answers_before_it(stub: ClassifierServiceStub) -> None:
    def requests() -> Iterator[pb.ClassifyStreamRequest]:
        for tensor in (blank(1), blank(2), pb.Tensor(shape=[1, 2, 3], dtype=pb.DATA_TYPE_UINT8)):
            yield pb.ClassifyStreamRequest(request=pb.ClassifyRequest(pixels=tensor))

    answers = stub.ClassifyStream(requests())
    assert [len(next(answers).response.digits) for _ in range(2)] == [1, 2]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    found = refusal(caught.value)
    assert (found.code, found.field) == (grpc.StatusCode.INVALID_ARGUMENT, "request.pixels.shape")


def test_a_shape_without_end_is_not_said_back_in_full(stub: ClassifierServiceStub) -> None:
    found = refused(stub, pb.ClassifyRequest(pixels=pb.Tensor(shape=range(20_000), dtype=pb.DATA_TYPE_UINT8)))
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "WRONG_SHAPE")
    assert found.message == "pixels are [N, 18, 18], not [0, 1, 2, 3, 4, 5, 6, 7, …]"


@pytest.mark.parametrize(
    "request_of_many",
    [
        pb.ClassifyRequest(encoded=pb.EncodedImages(files=[b""] * 100_000)),
        pb.ClassifyRequest(activations=pb.LayerSelection(names=[""] * 100_000)),
        pb.ClassifyRequest(pixels=pb.Tensor(shape=[1] * 1_000_000)),
    ],
    ids=["files", "names", "extents"],
)
def test_fields_without_end_are_refused_before_they_are_parsed(
    stub: ClassifierServiceStub, request_of_many: pb.ClassifyRequest
) -> None:
    """Parsing a message of the largest size would take a gigabyte, and seconds without any other answer."""
    found = refused(stub, request_of_many)
    assert (found.code, found.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_MANY_FIELDS")
    assert found.message == "the request has more than 9,280 fields: split it"


def test_the_largest_good_request_has_not_too_many_fields(stub: ClassifierServiceStub) -> None:
    names = pb.LayerSelection(names=["input"] * 1024)
    change = pb.Intervention(layer="relu_1", units=range(32), scale=0.5)
    each = [pb.ImageInterventions(interventions=[change])] * 1024
    request = pb.ClassifyRequest(pixels=blank(1024), activations=names, interventions=each)
    assert len(stub.Classify(request).digits) == 1024
    files = pb.EncodedImages(files=[png()] * 1024)
    assert len(stub.Classify(pb.ClassifyRequest(encoded=files)).digits) == 1024
