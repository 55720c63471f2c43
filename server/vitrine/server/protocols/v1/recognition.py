"""Recognises requests to classify pixels that differ from an earlier one in the pixels alone."""

import numpy as np

from vitrine.server.protocols.endpoint import Decode
from vitrine.server.protocols.templates import Payload, Templates
from vitrine.server.protocols.v1.convert import ClassifyFacts, KnownClassify, simple_facts
from vitrine.v1 import classifier_pb2 as pb


def _put(message: pb.ClassifyRequest, data: bytes) -> None:
    message.pixels.data = data


PIXELS: Payload[pb.ClassifyRequest] = Payload(lambda message: message.pixels.data, _put)


def recognising(decode: Decode) -> Decode:
    """A decoder of `ClassifyRequest` that gives `KnownClassify` for the requests that it has learnt to recognise."""
    templates: Templates[pb.ClassifyRequest, ClassifyFacts] = Templates(decode, PIXELS, simple_facts)

    def decode_or_recognise(data: bytes) -> pb.ClassifyRequest | KnownClassify:
        if (found := templates.find(data)) is not None:
            (model, shape, activations), begin, size = found
            return KnownClassify(model, shape, activations, np.frombuffer(data, np.uint8, size, begin))
        message: pb.ClassifyRequest = decode(data)
        templates.consider(data, message)
        return message

    return decode_or_recognise
