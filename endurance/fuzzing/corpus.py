"""Valid messages and image files that mutations start from. It knows neither gRPC's transport nor mutations."""

import io
from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from PIL import Image

from vitrine.oip import inference_pb2 as oip
from vitrine.v1 import classifier_pb2 as pb

SERVICE = "/vitrine.v1.ClassifierService/"
CLASSIFY, STREAM = SERVICE + "Classify", SERVICE + "ClassifyStream"
OPEN_SERVICE = "/inference.GRPCInferenceService/"
INFER, INFER_STREAM = OPEN_SERVICE + "ModelInfer", OPEN_SERVICE + "ModelStreamInfer"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
CHECK = "/grpc.health.v1.Health/Check"

STREAMS = (STREAM, INFER_STREAM, REFLECT)
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


def _infer_requests() -> list[oip.ModelInferRequest]:
    """Pixels as bytes and typed, an image file, and outputs by name."""
    tensor, output = oip.ModelInferRequest.InferInputTensor, oip.ModelInferRequest.InferRequestedOutputTensor
    contents = oip.InferTensorContents
    every = [output(name=name) for name in ("digit", "linear_1", "relu_1", "softmax")]
    noise = pixels(2).data
    packed = tensor(name="pixels", datatype="UINT8", shape=[2, 18, 18])
    typed = tensor(name="pixels", datatype="FP32", shape=[1, 18, 18], contents=contents(fp32_contents=noise[:324]))
    image = tensor(name="pixels", datatype="BYTES", shape=[1], contents=contents(bytes_contents=[files()["PNG"]]))
    return [
        oip.ModelInferRequest(inputs=[packed], raw_input_contents=[noise]),
        oip.ModelInferRequest(model_name="digits", id="7", inputs=[packed], outputs=every, raw_input_contents=[noise]),
        oip.ModelInferRequest(inputs=[typed], parameters={"sequence_id": oip.InferParameter(int64_param=0)}),
        oip.ModelInferRequest(inputs=[image], outputs=every[:1]),
    ]


def _open_requests() -> dict[str, Sequence[Message]]:
    """Requests of the open protocol's other methods; those that aren't served are refused whatever they hold."""
    unserved = ("SystemSharedMemoryStatus", "CudaSharedMemoryRegister", "TraceSetting", "LogSettings")
    named: list[Message] = [
        oip.ModelReadyRequest(name="digits"),
        oip.ModelMetadataRequest(name="digits"),
        oip.ModelConfigRequest(name="digits"),
        oip.ModelStatisticsRequest(name="digits"),
        oip.RepositoryIndexRequest(ready=True),
        oip.ServerReadyRequest(),
        *(getattr(oip, f"{name}Request")() for name in unserved),
    ]
    return {OPEN_SERVICE + type(request).__name__.removesuffix("Request"): [request] for request in named}


@cache
def messages() -> Mapping[str, Sequence[bytes]]:
    """Serialized valid requests by method; for streams, the messages of one."""
    return {method: [request.SerializeToString() for request in each] for method, each in requests().items()}


@cache
def requests() -> Mapping[str, Sequence[Message]]:
    """Valid requests by method; for streams, the messages of one."""
    ask = reflection_pb2.ServerReflectionRequest
    extension = reflection_pb2.ExtensionRequest(containing_type="vitrine.v1.Tensor", extension_number=7)
    return {
        CLASSIFY: _classify_requests(),
        STREAM: [pb.ClassifyStreamRequest(request=request) for request in _classify_requests()],
        SERVICE + "ListModels": [pb.ListModelsRequest()],
        SERVICE + "GetModel": [pb.GetModelRequest(), pb.GetModelRequest(model="digits")],
        SERVICE + "GetParameters": [pb.GetParametersRequest(layer="linear_2")],
        SERVICE + "Explain": [pb.ExplainRequest(pixels=pixels(2), classes=[3])],
        SERVICE + "Prepare": [pb.PrepareRequest(file=files()["PNG"])],
        INFER: _infer_requests(),
        INFER_STREAM: _infer_requests(),
        **_open_requests(),
        CHECK: [health_pb2.HealthCheckRequest(), health_pb2.HealthCheckRequest(service="vitrine.v1.ClassifierService")],
        REFLECT: [
            ask(list_services=""),
            ask(file_by_filename="vitrine/v1/classifier.proto"),
            ask(file_containing_symbol="vitrine.v1.ClassifierService"),
            ask(file_containing_extension=extension),
            ask(all_extension_numbers_of_type="vitrine.v1.Tensor"),
        ],
    }


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
