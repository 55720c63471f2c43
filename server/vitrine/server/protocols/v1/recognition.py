"""Recognises requests to classify pixels that differ from an earlier one in the pixels alone."""

from vitrine.server.protocols.endpoint import Decode
from vitrine.server.protocols.templates import Payload, Templates
from vitrine.server.protocols.v1.convert import KnownClassify, simple_facts
from vitrine.v1 import classifier_pb2 as pb


def _put(message: pb.ClassifyRequest, data: bytes) -> None:
    message.pixels.data = data


PIXELS: Payload[pb.ClassifyRequest] = Payload(lambda message: message.pixels.data, _put)


def recognising(decode: Decode) -> Decode:
    """A decoder of `ClassifyRequest` that gives `KnownClassify` for the requests that it has learnt to recognise."""
    return Templates(decode, PIXELS, simple_facts).decoder(lambda facts, _, pixels: KnownClassify(*facts, pixels))
