"""An honest caller: a program of its own with the SDK, as it comes, which classifies one drawing at a steady rate.

    python -m endurance.attacking.honest TARGET SECONDS [TOKEN]

It prints one JSON object.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from vitrine.client import Client, VitrineError

CALLS_PER_CONNECTION = 20
"""Calls before the caller connects anew, as programs do that have just been started."""

CALLS_PER_SECOND = 20
"""Calls that are due each second; a call that is late delays those behind it, as in one user's program."""


def start(target: str, seconds: float, token: str | None) -> subprocess.Popen[str]:
    """Starts the caller in a process of its own: attackers in this one can't slow it down."""
    command = [sys.executable, "-m", "endurance.attacking.honest", target, str(seconds), *([token] if token else [])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def figures_of(caller: subprocess.Popen[str]) -> dict[str, Any]:
    """Waits for its end, and gives what it saw."""
    output, _ = caller.communicate()
    figures: dict[str, Any] = json.loads(output)
    return figures


def call(target: str, seconds: float, token: str | None) -> dict[str, Any]:
    """Calls for so many seconds, and gives the share of good calls and the latencies of all."""
    outcomes: Counter[str] = Counter()
    latencies: list[float] = []
    pixels = np.random.default_rng(0).integers(0, 256, (18, 18), np.uint8)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with Client(target, token=token) as client:
            for _ in range(CALLS_PER_CONNECTION):
                begin = time.monotonic()
                outcomes[_outcome(client, pixels)] += 1
                latencies.append(time.monotonic() - begin)
                time.sleep(max(0.0, 1 / CALLS_PER_SECOND - latencies[-1]))
    milliseconds = np.array(latencies) * 1000
    p50, p99 = (float(np.percentile(milliseconds, percent)) for percent in (50, 99))
    calls = outcomes.total()
    return {"calls": calls, "good_ratio": outcomes["OK"] / calls, "p50_ms": p50, "p99_ms": p99, "outcomes": outcomes}


def _outcome(client: Client, pixels: npt.NDArray[np.uint8]) -> str:
    try:
        client.classify(pixels)
    except VitrineError as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "OK"


if __name__ == "__main__":
    print(json.dumps(call(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)))
