"""Valid messages and image files that mutations start from. It knows neither gRPC's transport nor mutations."""

import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from PIL import Image

from vitrine.v1 import classifier_pb2 as pb

SERVICE = "/vitrine.v1.ClassifierService/"
CLASSIFY, STREAM = SERVICE + "Classify", SERVICE + "ClassifyStream"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK = "/grpc.health.v1.Health/Check"

STREAMS = (STREAM, REFLECT)
"""Methods whose requests are a stream."""


def pixels(count: int, seed: int = 0) -> pb.Tensor:
    """Pixels of `count` images of noise: uint8 (count, 18, 18)."""
    noise = np.random.default_rng(seed).integers(0, 256, (count, 18, 18), dtype=np.uint8)
    return pb.Tensor(name="pixels", shape=noise.shape, dtype=pb.DATA_TYPE_UINT8, data=noise.tobytes())


def _classify_requests() -> list[pb.ClassifyRequest]:
    few, every = pb.LayerSelection(names=["linear_1", "relu_1", "softmax"]), pb.LayerSelection(all=True)
    return [
        pb.ClassifyRequest(pixels=pixels(1)),
        pb.ClassifyRequest(pixels=pixels(3), activations=few),
        pb.ClassifyRequest(pixels=pixels(2), activations=every),
        pb.ClassifyRequest(encoded=pb.EncodedImages(files=[files()["PNG"], files()["GIF"]]), activations=few),
        pb.ClassifyRequest(model="digits", pixels=pixels(1), activations=pb.LayerSelection(names=["relu_1"] * 50)),
    ]


@cache
def messages() -> Mapping[str, Sequence[bytes]]:
    """Serialized valid requests by method; for streams, the messages of one."""
    ask = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest(containing_type="vitrine.v1.Tensor", extension_number=7)
    requests: dict[str, Sequence[Message]] = {
        CLASSIFY: _classify_requests(),
        STREAM: [pb.ClassifyStreamRequest(request=request) for request in _classify_requests()],
        SERVICE + "ListModels": [pb.ListModelsRequest()],
        SERVICE + "GetModel": [pb.GetModelRequest(), pb.GetModelRequest(model="digits")],
        SERVICE + "GetParameters": [pb.GetParametersRequest(layer="linear_2")],
        CHECK: [health_pb2.HealthCheckRequest(), health_pb2.HealthCheckRequest(service="vitrine.v1.ClassifierService")],
        REFLECT: [
            ask(list_services=""),
            ask(file_by_filename="vitrine/v1/classifier.proto"),
            ask(file_containing_symbol="vitrine.v1.ClassifierService"),
            ask(file_containing_extension=extension),
            ask(all_extension_numbers_of_type="vitrine.v1.Tensor"),
        ],
    }
    return {method: [request.SerializeToString() for request in each] for method, each in requests.items()}


@cache
def files() -> Mapping[str, bytes]:
    """A small drawing as an image file of every format that the server reads, in several modes, by name."""
    drawing = Image.new("RGB", (24, 20), "white")
    drawing.paste((20, 30, 40), (9, 3, 13, 17))
    kinds: dict[str, tuple[str, str, dict[str, object]]] = {
        "PNG": ("PNG", "L", {}),
        "PNG with a palette": ("PNG", "P", {"transparency": 0}),
        "PNG of 16 bits": ("PNG", "I;16", {}),
        "PNG with alpha": ("PNG", "RGBA", {}),
        "JPEG": ("JPEG", "RGB", {}),
        "JPEG, progressive": ("JPEG", "L", {"progressive": True}),
        "JPEG of four inks": ("JPEG", "CMYK", {}),
        "WEBP": ("WEBP", "RGB", {}),
        "WEBP, lossless": ("WEBP", "RGBA", {"lossless": True}),
        "GIF": ("GIF", "P", {}),
        "BMP": ("BMP", "RGB", {}),
        "BMP with a palette": ("BMP", "P", {}),
        "TIFF": ("TIFF", "RGB", {}),
        "TIFF, LZW": ("TIFF", "L", {"compression": "tiff_lzw"}),
        "TIFF, fax": ("TIFF", "1", {"compression": "group4"}),
        "TIFF, JPEG": ("TIFF", "RGB", {"compression": "jpeg"}),
    }
    return {name: _encoded(drawing.convert(mode), kind, **options) for name, (kind, mode, options) in kinds.items()}


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
