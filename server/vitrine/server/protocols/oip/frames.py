"""Joins the bytes of answers to requests to infer: names, shapes and frames are the same for all of a kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vitrine.oip import inference_pb2 as pb
from vitrine.server.inference.requests import Classification, LayerSelection
from vitrine.server.protocols.encoding import elements_of, field_head
from vitrine.server.protocols.oip.outputs import (
    ReadOutput,
    further_bytes,
    output_of,
    read_outputs,
    wanted_outputs,
)

RAW = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number
"""The field of elements, which is the last one of an answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What all requests of a kind ask of one model, and the bytes around the elements of its answers."""

    layers: LayerSelection
    """The wanted layers."""
    further_bytes: int
    """Bytes of each image in the answer besides activations, at most."""
    head: bytes
    """The bytes of an answer before its elements."""
    outputs: Sequence[tuple[bytes, ReadOutput]]
    """For each output the bytes before its elements, and a function that reads these from a classification."""
    size: int
    """The bytes of an answer."""

    @classmethod
    def of(cls, request: pb.ModelInferRequest, answer: Classification, response: pb.ModelInferResponse) -> "Frame":
        """The frame of a request's kind, from the answer to the request."""
        model = answer.model
        reads = [output_of(model, name)[1] for name in wanted_outputs(request, model)]
        sizes = [read(answer).nbytes for read in reads]
        heads = [field_head(RAW, size) for size in sizes]
        identity = pb.ModelInferResponse(model_name=model.name, model_version=model.version, outputs=response.outputs)
        head = identity.SerializeToString()
        size = len(head) + sum(map(len, heads)) + sum(sizes)
        outputs = tuple(zip(heads, reads, strict=True))
        return cls(read_outputs(request, model), further_bytes(request, model), head, outputs, size)


@dataclass(frozen=True, slots=True, eq=False)
class InferAnswer:
    """The answer to a request that was recognised: bytes for most callers, and a message for those that want one."""

    frame: Frame
    """The bytes around its elements."""
    answer: Classification
    """The answer."""

    def message(self) -> pb.ModelInferResponse:
        """The message."""
        return pb.ModelInferResponse.FromString(self.SerializeToString())

    def SerializeToString(self) -> bytes:  # noqa: N802 - as messages have it
        """The bytes of the message."""
        return self.behind(lambda _: b"")

    def behind(self, head: Callable[[int], bytes]) -> bytes:
        """The same behind a head, which is made of their number.

        Raises:
            RuntimeError: the model gave other elements than for the first request of the kind.
        """
        frame, answer, before = self.frame, self.answer, head(self.frame.size)
        parts: list[bytes | memoryview] = [before, frame.head]
        for output, read in frame.outputs:
            parts += output, elements_of(read(answer))
        joined = b"".join(parts)
        if len(joined) != len(before) + frame.size:
            raise RuntimeError(f"an answer has {len(joined):,} bytes, and its frame says {frame.size:,}")
        return joined
