"""Recognises requests to infer that differ from an earlier one in their pixels alone, and joins their answers' bytes.

Such requests make a kind. All of a kind want the same of a model, and their answers differ in the tensors' elements
alone: what was found out for the first, and the bytes around its elements, hold for the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.oip import inference_pb2 as pb
from vitrine.server.inference.requests import Classification, ClassifyRequest, LayerSelection
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.encoding import elements_of, field_head
from vitrine.server.protocols.endpoint import Decode
from vitrine.server.protocols.oip.outputs import Get, further_bytes, output_of, read_outputs, wanted_outputs
from vitrine.server.protocols.templates import Payload, Templates, set_fields

RAW = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
"""The field of elements, which is the last one of an answer."""

SIMPLE = {"model_name", "model_version", "id", "inputs", "outputs", "raw_input_contents"}
"""The fields of a request that holds nothing unusual: no parameters."""

SIMPLE_INPUT, SIMPLE_OUTPUT = {"name", "datatype", "shape"}, {"name"}
"""The fields inside these."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What all requests of a kind mean to one model. It doesn't hold the model."""

    layers: LayerSelection
    """The wanted layers."""
    further_bytes: int
    """Bytes of each image in the answer besides activations, at most."""
    head: bytes
    """The bytes of an answer before its elements."""
    elements: Sequence[tuple[bytes, Get]]
    """For each output the bytes before its elements, and a function that gets these out of a classification."""
    size: int
    """The bytes of an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Requests that are equal but for their pixels."""

    sample: pb.ModelInferRequest
    """One of them, without its pixels."""
    readings: "WeakKeyDictionary[ServedModel, Reading]" = field(default_factory=WeakKeyDictionary)
    """What they mean to each model that has answered one."""

    def learn(self, request: pb.ModelInferRequest, model: ServedModel, response: pb.ModelInferResponse) -> None:
        """Learns what they mean from one of them, and the answer to it."""
        gets = [output_of(model, name)[1] for name in wanted_outputs(request, model)]
        heads = [field_head(RAW, len(raw)) for raw in response.raw_output_contents]
        rest = pb.ModelInferResponse()
        rest.CopyFrom(response)
        rest.ClearField("raw_output_contents")
        self.readings[model] = Reading(
            read_outputs(request, model),
            further_bytes(request, model),
            rest.SerializeToString(),
            tuple(zip(heads, gets, strict=True)),
            response.ByteSize(),
        )


@dataclass(frozen=True, slots=True, eq=False)
class KnownInfer:
    """A request that was recognised by its bytes."""

    kind: Kind
    """The requests that it is one of."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (n,): all pixels, a view of the request's bytes."""

    def message(self) -> pb.ModelInferRequest:
        """The request as a message."""
        message = pb.ModelInferRequest()
        message.CopyFrom(self.kind.sample)
        message.raw_input_contents.append(self.pixels.tobytes())
        return message

    def to(self, model: ServedModel, reading: Reading) -> ClassifyRequest:
        """The request to a model."""
        return ClassifyRequest(model, self.pixels.reshape(-1, *model.metadata.input.shape), None, reading.layers)


@dataclass(frozen=True, slots=True, eq=False)
class InferAnswer:
    """The answer to a request that was recognised: bytes for most callers, and a message for those that want one."""

    reading: Reading
    """What the request means."""
    answer: Classification
    """The answer."""

    def message(self) -> pb.ModelInferResponse:
        """The message."""
        return pb.ModelInferResponse.FromString(self.SerializeToString())

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes of the message."""
        return self.behind(lambda _: b"")

    def behind(self, head: Callable[[int], bytes]) -> bytes:
        """The same behind a head, which is made of their number."""
        reading, answer = self.reading, self.answer
        parts: list[bytes | memoryview] = [head(reading.size), reading.head]
        for before, get in reading.elements:
            parts += before, elements_of(get(answer))
        return b"".join(parts)


def _put(message: pb.ModelInferRequest, data: bytes) -> None:
    message.raw_input_contents[0] = data


def _get(message: pb.ModelInferRequest) -> bytes:
    return message.raw_input_contents[0] if len(message.raw_input_contents) == 1 else b""


PIXELS: Payload[pb.ModelInferRequest] = Payload(_get, _put)


def recognising(decode: Decode) -> Decode:
    """A decoder of `ModelInferRequest` that gives `KnownInfer` for the requests that it has learnt to recognise."""
    templates: Templates[pb.ModelInferRequest, Kind] = Templates(decode, PIXELS, _kind_of)

    def decode_or_recognise(data: bytes) -> pb.ModelInferRequest | KnownInfer:
        if (found := templates.find(data)) is not None:
            kind, begin, size = found
            return KnownInfer(kind, np.frombuffer(data, np.uint8, size, begin))
        message: pb.ModelInferRequest = decode(data)
        templates.consider(data, message)
        return message

    return decode_or_recognise


def _kind_of(message: pb.ModelInferRequest) -> Kind | None:
    """The kind of a request; None for one that holds anything unusual, or whose pixels' bytes could be wrong."""
    if len(message.inputs) != 1:
        return None
    (tensor,) = message.inputs
    if (
        set_fields(message) <= SIMPLE
        and set_fields(tensor) <= SIMPLE_INPUT
        and all(set_fields(output) <= SIMPLE_OUTPUT for output in message.outputs)
        and tensor.datatype == "UINT8"
        and len(_get(message)) == math.prod(tensor.shape)
    ):
        sample = pb.ModelInferRequest()
        sample.CopyFrom(message)
        sample.ClearField("raw_input_contents")
        return Kind(sample)
    return None
