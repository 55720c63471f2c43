"""Writes the open protocol's messages, and reads what comes back, over a plain channel."""

import io
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from vitrine.oip import inference_pb2 as pb

Input = pb.ModelInferRequest.InferInputTensor
Output = pb.ModelInferRequest.InferRequestedOutputTensor
Contents = pb.InferTensorContents


def request(tensor: pb.ModelInferRequest.InferInputTensor, *raw: bytes, **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="tiny", inputs=[tensor], raw_input_contents=raw, **fields)


def pixels_input(datatype: str = "UINT8", shape: Any = (1, 18, 18), **contents: Any) -> Input:
    return Input(name="pixels", datatype=datatype, shape=shape, contents=Contents(**contents) if contents else None)


def blank(**fields: Any) -> pb.ModelInferRequest:
    return request(pixels_input(), bytes(324), **fields)


def floats(*values: float) -> pb.ModelInferRequest:
    filled = np.zeros(324, "<f4")
    filled[: len(values)] = values
    return request(pixels_input("FP32"), filled.tobytes(), outputs=[Output(name="input")])


def png() -> bytes:
    return written(Image.effect_noise((20, 20), 50), "PNG")


def written(image: Image.Image, kind: str) -> bytes:
    """The image as a file."""
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def classes(output: str = "softmax", **value: Any) -> pb.ModelInferRequest:
    return blank(outputs=[Output(name=output, parameters={"classification": pb.InferParameter(**value)})])


def array(response: pb.ModelInferResponse, name: str) -> npt.NDArray[Any]:
    index = [output.name for output in response.outputs].index(name)
    kinds = {"INT64": "<i8", "FP32": "<f4", "BOOL": "?"}
    kind = kinds[response.outputs[index].datatype]
    return np.frombuffer(response.raw_output_contents[index], kind).reshape(response.outputs[index].shape)


def refused(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str, str]:
    """A refusal: its code, its text, its reason, and the path of the field at fault."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error = caught.value
    assert isinstance(error, grpc.Call)
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error.code()} {error.details()}"
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        assert detail.Unpack(info) or detail.Unpack(bad)
    fields = ", ".join(violation.field for violation in bad.field_violations)
    return error.code(), error.details() or "", info.reason, fields
