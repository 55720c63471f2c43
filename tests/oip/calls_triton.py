"""Calls a server with Triton's own client, in every way that its users do, and reports what came back.

It runs in an environment of its own, where nothing of Vitrine is installed: `calls_triton.py TARGET GIVEN ARRAYS`.
GIVEN is an .npz of `pixels`, uint8 (N, 18, 18), and `image`, an image file's bytes. JSON goes to standard output, and
tensors as .npz to ARRAYS, under the names of the calls that they came from.
"""

import asyncio
import json
import queue
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

MODEL = "tiny"
LAYERS = ("softmax", "relu_2", "input")

arrays: dict[str, Any] = {}


def keep(call: str, result: Any) -> dict[str, Any]:
    """Keeps the tensors of an answer under the call's name; gives the rest."""
    response = result.get_response()
    for output in response.outputs:
        arrays[f"{call}/{output.name}"] = result.as_numpy(output.name)
    outputs = [[output.name, output.datatype, list(output.shape)] for output in response.outputs]
    parameters = {name: value.bool_param for name, value in response.parameters.items()}
    identity = {"model": response.model_name, "version": response.model_version, "id": response.id}
    return {**identity, "outputs": outputs, "parameters": parameters}


def tensor(values: Any, datatype: str, name: str = "pixels", shape: Any = None) -> Any:
    """An input."""
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values)
    return given if shape is None else given.set_shape(shape)


def wanted(*names: str) -> list[Any]:
    """Outputs."""
    return [triton.InferRequestedOutput(name) for name in names]


def failure(call: Callable[[], object]) -> list[str]:
    """What the client raises: the status and the text."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("nothing was raised")


def describe(client: Any) -> dict[str, Any]:
    """What the server says of itself and its models."""
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL),
        "other model ready": client.is_model_ready("large"),
        "other version ready": client.is_model_ready(MODEL, "7"),
        "server": client.get_server_metadata(as_json=True),
        "metadata": client.get_model_metadata(MODEL, as_json=True),
        "config": client.get_model_config(MODEL, as_json=True),
        "index": client.get_model_repository_index(as_json=True),
    }


def inputs(pixels: Any, file: bytes) -> dict[str, Any]:
    """The same images in every form."""
    files = np.array([file], np.object_)
    return {
        "pixels": tensor(pixels, "UINT8"),
        "flat": tensor(pixels.reshape(len(pixels), -1), "UINT8"),
        "floats": tensor(pixels.astype(np.float32), "FP32"),
        "files": tensor(files, "BYTES"),
        "files in a column": tensor(files[:, None], "BYTES"),
    }


def infer(client: Any, forms: dict[str, Any]) -> dict[str, Any]:
    """Unary calls."""
    answers = {f"form {name}": client.infer(MODEL, [form], outputs=wanted(*LAYERS)) for name, form in forms.items()}
    pixels = [forms["pixels"]]
    version = client.get_model_metadata(MODEL).versions[0]
    answers["plain"] = client.infer(MODEL, pixels)
    answers["digit"] = client.infer(MODEL, pixels, request_id="seven", model_version=version, outputs=wanted("digit"))
    answers["parameters"] = client.infer(MODEL, pixels, parameters={"mine": 3}, priority=1, timeout=10_000_000)
    answers["compressed"] = client.infer(MODEL, pixels, compression_algorithm="gzip")
    return {name: keep(name, answer) for name, answer in answers.items()}


def classes(client: Any, forms: dict[str, Any]) -> list[list[str]]:
    """The three most probable classes of each image."""
    top = triton.InferRequestedOutput("softmax", class_count=3)
    answer = client.infer(MODEL, [forms["pixels"]], outputs=[top]).as_numpy("softmax")
    return [[text.decode() for text in row] for row in answer]


def call_back(client: Any, forms: dict[str, Any]) -> dict[str, Any]:
    """A call whose answer comes to a callback."""
    answers: queue.Queue[Any] = queue.Queue()
    client.async_infer(MODEL, [forms["pixels"]], lambda result, error: answers.put((result, error)))
    result, error = answers.get(timeout=60)
    assert error is None, error
    return keep("callback", result)


def stream(client: Any, forms: dict[str, Any]) -> list[Any]:
    """Four requests, of which the second is bad."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number, model in enumerate([MODEL, "large", MODEL, MODEL]):
        client.async_stream_infer(model, [forms["pixels"]], request_id=f"request {number}")
    heard = [answers.get(timeout=60) for _ in range(4)]
    client.stop_stream()
    return [error.message() if error else keep(f"stream {n}", result) for n, (result, error) in enumerate(heard)]


async def in_asyncio(target: str, pixels: Any) -> dict[str, Any]:
    """The same with the client for asyncio."""
    async with triton_aio.InferenceServerClient(target) as client:
        answers = await asyncio.gather(
            *(client.infer(MODEL, [tensor(pixels[: n + 1], "UINT8")], request_id=str(n)) for n in range(8))
        )
        return {
            "live": await client.is_server_live(),
            "model ready": await client.is_model_ready(MODEL),
            "metadata": await client.get_model_metadata(MODEL, as_json=True),
            "answers": [keep(f"asyncio {n}", answer) for n, answer in enumerate(answers)],
            "stream": await stream_in_asyncio(client, pixels),
        }


async def stream_in_asyncio(client: Any, pixels: Any) -> list[Any]:
    """Three requests, of which the second is bad."""

    async def requests() -> Any:
        for number, model in enumerate([MODEL, "large", MODEL]):
            yield {"model_name": model, "inputs": [tensor(pixels, "UINT8")], "request_id": str(number)}

    heard: list[Any] = []
    async for result, error in client.stream_infer(requests()):
        heard.append(error.message() if error else keep(f"asyncio stream {len(heard)}", result))
    return heard


def failures(client: Any, pixels: Any) -> dict[str, list[str]]:
    """What bad requests meet."""
    good = tensor(pixels, "UINT8")
    bad_inputs = {
        "datatype": tensor(pixels.astype(np.int64), "INT64"),
        "shape": tensor(np.zeros((1, 28, 28), np.uint8), "UINT8"),
        "byte count": tensor(pixels, "UINT8", shape=[len(pixels) + 1, 18, 18]),
        "input": tensor(pixels, "UINT8", name="image"),
        "batch": tensor(np.zeros((1025, 18, 18), np.uint8), "UINT8"),
        "file": tensor(np.array([b"no image"], np.object_), "BYTES"),
    }
    calls: dict[str, Callable[[], object]] = {
        "model": lambda: client.infer("large", [good]),
        "version": lambda: client.infer(MODEL, [good], model_version="7"),
        "output": lambda: client.infer(MODEL, [good], outputs=wanted("relu_9")),
        "metadata": lambda: client.get_model_metadata("large"),
        "config": lambda: client.get_model_config("large"),
        "statistics": lambda: client.get_inference_statistics("large"),
        "shared memory": lambda: client.register_system_shared_memory("mine", "/mine", 1024),
        "shared memory status": client.get_system_shared_memory_status,
        "CUDA shared memory": client.get_cuda_shared_memory_status,
        "trace": client.get_trace_settings,
        "log": client.get_log_settings,
        "load": lambda: client.load_model(MODEL),
        "unload": lambda: client.unload_model(MODEL),
    }
    calls |= {name: partial(client.infer, MODEL, [given]) for name, given in bad_inputs.items()}
    return {name: failure(call) for name, call in calls.items()}


def counted(client: Any, before: dict[str, Any]) -> dict[str, Any]:
    """The statistics once every call is counted, which is when its answer has left: asked again until then."""
    answers = len({name.rpartition("/")[0] for name in arrays}) + 1  # the one is `classes`
    until = time.monotonic() + 60
    while True:
        now = client.get_inference_statistics(MODEL, as_json=True)
        all_there = count(now, "success") >= count(before, "success") + answers and count(now, "fail")
        if all_there or time.monotonic() > until:
            return dict(now)


def count(statistics: dict[str, Any], outcome: str) -> int:
    """How many requests of the model ended so."""
    return int(statistics["model_stats"][0]["inference_stats"][outcome].get("count", 0))


def report(target: str, pixels: Any, file: bytes) -> dict[str, Any]:
    """All of it."""
    forms = inputs(pixels, file)
    with triton.InferenceServerClient(target) as client:
        before = client.get_inference_statistics(MODEL, as_json=True)
        described, answered = describe(client), infer(client, forms)
        return {
            "described": described,
            "answered": answered,
            "classes": classes(client, forms),
            "callback": call_back(client, forms),
            "stream": stream(client, forms),
            "asyncio": asyncio.run(in_asyncio(target, pixels)),
            "failures": failures(client, pixels),
            "before": before,
            "after": counted(client, before),
            "all statistics": client.get_inference_statistics(as_json=True),
        }


def main(arguments: Iterable[str]) -> None:
    """Calls, and reports."""
    target, given, kept = arguments
    loaded = np.load(given)
    print(json.dumps(report(target, loaded["pixels"], loaded["image"].tobytes())))
    np.savez(kept, **{name: value for name, value in arrays.items() if value.dtype != np.object_})


if __name__ == "__main__":
    main(sys.argv[1:])
