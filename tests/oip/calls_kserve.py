"""Calls a server with KServe's own client, and reports what came back.

It runs in an environment of its own, where nothing of Vitrine is installed: `calls_kserve.py TARGET GIVEN ARRAYS`, as
`calls_triton.py` has them.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Iterable
from typing import Any

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

MODEL = "tiny"
LAYERS = ("softmax", "relu_2", "input")

arrays: dict[str, Any] = {}


def keep(call: str, response: Any) -> dict[str, Any]:
    """Keeps the tensors of an answer under the call's name; gives the rest."""
    for output in response.outputs:
        arrays[f"{call}/{output.name}"] = output.as_numpy()
    outputs = [[output.name, output.datatype, list(output.shape)] for output in response.outputs]
    return {"model": response.model_name, "version": response.model_version, "id": response.id, "outputs": outputs}


def request(data: Any, shape: Any, datatype: str, outputs: tuple[str, ...] = (), model: str = MODEL) -> Any:
    """A request; data in a list is sent in typed form, in an array raw."""
    given = InferInput("pixels", list(shape), datatype, data=data)
    named = [RequestedOutput(name) for name in outputs] or None
    return InferRequest(model_name=model, request_id="seven", infer_inputs=[given], request_outputs=named)


def requests(pixels: Any, file: bytes) -> dict[str, Any]:
    """Requests in every form."""
    floats = pixels.astype(np.float32)
    return {
        "plain": request(pixels, pixels.shape, "UINT8"),
        "pixels": request(pixels, pixels.shape, "UINT8", LAYERS),
        "typed": request(pixels.ravel().tolist(), pixels.shape, "UINT8", LAYERS),
        "floats": request(floats, pixels.shape, "FP32", LAYERS),
        "typed floats": request(floats.ravel().tolist(), pixels.shape, "FP32", LAYERS),
        "files": request(np.array([file], np.object_), [1], "BYTES", LAYERS),
        "typed files": request([file], [1], "BYTES", LAYERS),
    }


async def failure(client: Any, bad: Any) -> list[str]:
    """What the client raises: the status and the text."""
    try:
        await client.infer(bad)
    except grpc.aio.AioRpcError as error:
        return [str(error.code()), error.details() or ""]
    raise AssertionError("nothing was raised")


async def report(target: str, pixels: Any, file: bytes) -> dict[str, Any]:
    """All of it."""
    async with InferenceGRPCClient(target) as client:
        answers = {name: await client.infer(made) for name, made in requests(pixels, file).items()}
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model ready": await client.is_model_ready(MODEL),
            "other model ready": await client.is_model_ready("large"),
            "answered": {name: keep(name, answer) for name, answer in answers.items()},
            "failures": {
                "model": await failure(client, request(pixels, pixels.shape, "UINT8", model="large")),
                "shape": await failure(client, request(pixels[0], (18, 18), "UINT8")),
            },
        }


def main(arguments: Iterable[str]) -> None:
    """Calls, and reports."""
    logging.disable()  # the client logs what it raises
    target, given, kept = arguments
    loaded = np.load(given)
    print(json.dumps(asyncio.run(report(target, loaded["pixels"], loaded["image"].tobytes()))))
    np.savez(kept, **arrays)


if __name__ == "__main__":
    main(sys.argv[1:])
