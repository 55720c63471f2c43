"""Recognises requests to infer that differ from an earlier one in their pixels alone, without parsing.

All requests of such a kind ask the same of a model. The first one of a kind for each model takes the usual way, and its
answer gives the frame of the others' answers.
"""

import math
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from vitrine.oip import inference_pb2 as pb
from vitrine.server.inference.requests import ClassifyRequest
from vitrine.server.models.snapshot import ServedModel
from vitrine.server.protocols.endpoint import Decode
from vitrine.server.protocols.oip.frames import Frame
from vitrine.server.protocols.templates import Payload, Templates, set_fields

SIMPLE = {"model_name", "model_version", "inputs", "outputs", "raw_input_contents"}
"""The fields of a request that holds nothing unusual.

There are no parameters, and no id: a caller who sends ids sends another one each time.
"""

SIMPLE_INPUT, SIMPLE_OUTPUT = {"name", "datatype", "shape"}, {"name"}
"""The fields of its input, and of each output that it asks for."""


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Requests that are equal but for their pixels."""

    model_name: str
    """The name of the model that they ask."""
    model_version: str
    """Its version; empty for the newest."""
    frames: "WeakKeyDictionary[ServedModel, Frame]" = field(default_factory=WeakKeyDictionary)
    """The frame of the answers of each model that has answered one. A frame doesn't hold its model."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownInfer:
    """A request that was recognised by its bytes."""

    kind: Kind
    """The requests that it is one of."""
    data: bytes
    """Its bytes."""
    pixels: npt.NDArray[np.uint8]
    """uint8 (n,): all pixels, a view of these bytes."""

    def message(self) -> pb.ModelInferRequest:
        """The request as a message."""
        return pb.ModelInferRequest.FromString(self.data)

    def classify_request(self, model: ServedModel, frame: Frame) -> ClassifyRequest:
        """The request as the service takes it."""
        return ClassifyRequest(model, self.pixels.reshape(-1, *model.metadata.input.shape), None, frame.layers)


def _put(message: pb.ModelInferRequest, data: bytes) -> None:
    message.raw_input_contents[0] = data


def _get(message: pb.ModelInferRequest) -> bytes:
    return message.raw_input_contents[0] if len(message.raw_input_contents) == 1 else b""


PIXELS: Payload[pb.ModelInferRequest] = Payload(_get, _put)


def recognising(decode: Decode) -> Decode:
    """A decoder of `ModelInferRequest` that gives `KnownInfer` for the requests that it has learnt to recognise."""
    return Templates(decode, PIXELS, _kind_of).decoder(KnownInfer)


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
        return Kind(message.model_name, message.model_version)
    return None
