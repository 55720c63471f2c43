"""The requests of a comparison in every form, and the check of an answer. It knows no server and no connection."""

import json
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.peers.http1 import Http1Connection
from benchmarks.peers.http2 import Http2Connection
from benchmarks.peers.load import Connection
from vitrine.oip import inference_pb2 as oip

Pixels = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

MODEL = "benchmark"
HIDDEN, OUTPUT = ("relu_1", "relu_2"), "softmax"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CLASSES = 10
HOST = "127.0.0.1"
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Work:
    """One kind of request."""

    images: int
    """Images in each request."""
    hidden: bool
    """The answer has both hidden layers beside the output layer."""

    @property
    def name(self) -> str:
        """Its name in files."""
        return f"{self.images}-{'hidden' if self.hidden else 'plain'}"

    @property
    def title(self) -> str:
        """Its name in tables."""
        count = "1 image" if self.images == 1 else f"{self.images} images"
        return f"{count}, {'both hidden layers' if self.hidden else 'no layers'}"

    @property
    def layers(self) -> Sequence[str]:
        """The layers in the answer."""
        return (*HIDDEN, OUTPUT) if self.hidden else (OUTPUT,)

    @property
    def least_bytes(self) -> int:
        """Bytes that a good answer has at least."""
        return 4 * self.images * CLASSES

    def pixels(self) -> Pixels:
        """Noise: uint8 (images, 18, 18)."""
        return np.random.default_rng(self.images).integers(0, 256, (self.images, 18, 18), np.uint8)


@dataclass(frozen=True, slots=True)
class Form:
    """How a request travels, and how its answer is read."""

    calls_per_connection: int
    """Calls that are under way on a connection; HTTP/1.1 has one."""
    connect: Callable[[int, Work], Connection]
    """Opens a connection for this work to a port."""
    ask: Callable[[int, Work], bytes]
    """Sends the request once, with an ordinary client, and gives the answer's bytes."""
    probabilities: Callable[[bytes, Work], Values]
    """The output layer in these bytes: float32 (images, classes)."""


def infer_request(work: Work) -> bytes:
    """The open protocol's message."""
    pixels = work.pixels()
    tensor = oip.ModelInferRequest.InferInputTensor(name="pixels", datatype="UINT8", shape=pixels.shape)
    outputs = [oip.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in work.layers]
    request = oip.ModelInferRequest(model_name=MODEL, inputs=[tensor], outputs=outputs)
    request.raw_input_contents.append(pixels.tobytes())
    return request.SerializeToString()


def _connect_infer(port: int, work: Work) -> Connection:
    return Http2Connection(HOST, port, INFER, infer_request(work), work.least_bytes)


def _ask_infer(port: int, work: Work) -> bytes:
    with grpc.insecure_channel(f"{HOST}:{port}") as channel:
        infer: Any = channel.unary_unary(INFER)  # no serializers: messages are bytes
        answer: bytes = infer(infer_request(work), timeout=PATIENCE_SECONDS)
    return answer


def _infer_probabilities(answer: bytes, work: Work) -> Values:
    message = oip.ModelInferResponse.FromString(answer)
    place = [output.name for output in message.outputs].index(OUTPUT)
    if message.raw_output_contents:
        values = np.frombuffer(message.raw_output_contents[place], "<f4")
    else:
        values = np.array(message.outputs[place].contents.fp32_contents, np.float32)
    return values.reshape(work.images, CLASSES)


def _body(work: Work) -> bytes:
    return bytes([work.hidden]) + work.pixels().tobytes()


def _json_body(work: Work) -> bytes:
    return json.dumps({"pixels": b64encode(work.pixels().tobytes()).decode(), "hidden": work.hidden}).encode()


def _over_http(path: str, body: Callable[[Work], bytes], content_type: str) -> Form:
    """A form of HTTP/1.1, whose answer is the layers' float32, one behind the other."""

    def connect(port: int, work: Work) -> Connection:
        return Http1Connection(HOST, port, path, body(work), content_type)

    def ask(port: int, work: Work) -> bytes:
        headers = {"content-type": content_type}
        request = urllib.request.Request(f"http://{HOST}:{port}{path}", body(work), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            answer: bytes = response.read()
        return answer

    return Form(1, connect, ask, _last_values)


def _last_values(answer: bytes, work: Work) -> Values:
    return np.frombuffer(answer, "<f4")[-work.images * CLASSES :].reshape(work.images, CLASSES)


FORMS: Mapping[str, Form] = {
    "oip": Form(4, _connect_infer, _ask_infer, _infer_probabilities),
    "bytes": _over_http("/classify", _body, "application/octet-stream"),
    "base64": _over_http("/predict", _json_body, "application/json"),
}
"""The open protocol over gRPC, and two forms over HTTP/1.1 for servers that don't speak it."""
