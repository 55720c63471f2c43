"""Concurrent single-image calls from one process, with Triton's Python client, which speaks the open protocol.

    PYTHON open_protocol_callers.py TARGET {async,threads} CALLERS SECONDS

Closed loop: each caller sends the next image once it has its answer. The program prints one JSON object.
"""

import asyncio
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.grpc
import tritonclient.grpc.aio

PIXELS = np.random.default_rng(0).integers(0, 256, (1, 18, 18), dtype=np.uint8)


def arguments(module) -> dict:
    """The arguments of a call, made anew for each, as a program does that classifies many images."""
    pixels = module.InferInput("pixels", [1, 18, 18], "UINT8")
    pixels.set_data_from_numpy(PIXELS)
    return {"model_name": "benchmark", "inputs": [pixels], "outputs": [module.InferRequestedOutput("softmax")]}


def from_one_loop(target: str, callers: int, seconds: float) -> int:
    """Number of calls of `callers` tasks that share a client, in `seconds`."""
    module = tritonclient.grpc.aio

    async def call_until(client, end: float) -> int:
        calls = 0
        while time.perf_counter() < end:
            (await client.infer(**arguments(module))).as_numpy("softmax").argmax()
            calls += 1
        return calls

    async def call() -> int:
        async with module.InferenceServerClient(target) as client:
            await client.infer(**arguments(module))
            end = time.perf_counter() + seconds
            return sum(await asyncio.gather(*(call_until(client, end) for _ in range(callers))))

    return asyncio.run(call())


def from_threads(target: str, callers: int, seconds: float) -> int:
    """Number of calls of `callers` threads that share a client, in `seconds`."""
    module = tritonclient.grpc
    with module.InferenceServerClient(target) as client, ThreadPoolExecutor(callers) as threads:
        client.infer(**arguments(module))

        def call_until(end: float) -> int:
            calls = 0
            while time.perf_counter() < end:
                client.infer(**arguments(module)).as_numpy("softmax").argmax()
                calls += 1
            return calls

        return sum(threads.map(call_until, [time.perf_counter() + seconds] * callers))


def main(target: str, kind: str, callers: str, seconds: str) -> None:
    """Calls, and prints calls a second and the CPU time of a call."""
    call = {"async": from_one_loop, "threads": from_threads}[kind]
    call(target, int(callers), float(seconds) / 4)
    spent, begin = time.process_time(), time.perf_counter()
    calls = call(target, int(callers), float(seconds))
    found = {"calls_per_second": calls / (time.perf_counter() - begin)}
    print(json.dumps(found | {"cpu_us_per_call": (time.process_time() - spent) / calls * 1e6}))


if __name__ == "__main__":
    main(*sys.argv[1:])
